#!/usr/bin/env bash
# Measures Frameloom beside FFmpeg; see bench/bench.py. Without arguments: speed on this machine's cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pair=dist/frameloom-portable/bin
if [[ -x $pair/frameloom && -x $pair/ffmpeg ]]; then
    set -- "${@:-speed}" --frameloom "$pair/frameloom" --ffmpeg "$pair/ffmpeg" --ffprobe "$pair/ffprobe"
else
    cargo build --release -p frameloom-cli
    set -- "${@:-speed}"
fi
exec python3 bench/bench.py "$@"
