#!/bin/sh
# Runs every fuzz target, one after the other:       fuzz/run.sh [seconds for each, 60 by default [target ...]]
# or the real program on damaged media files:        fuzz/run.sh mutated [options of mutate.py]
set -eu
cd "$(dirname "$0")"

if [ "${1:-}" = mutated ]; then
    shift
    exec python3 mutate.py "$@"
fi

seconds=${1:-60}
[ $# -eq 0 ] || shift
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2
    exit 1
fi
# Sanitizers are unstable. A stable compiler has them too, but must be told that this is meant.
if ! rustc --version | grep -q nightly; then
    echo "no nightly toolchain: using the stable one with RUSTC_BOOTSTRAP=1" >&2
    export RUSTC_BOOTSTRAP=1
fi

[ $# -gt 0 ] || set -- fuzz_targets/*.rs
for target; do
    target=$(basename "$target" .rs)
    echo "== $target, $seconds s" >&2
    cargo fuzz run --fuzz-dir . "$target" -- -max_total_time="$seconds" -print_final_stats=1
done
