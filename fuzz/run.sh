#!/bin/sh
# Runs every fuzz target, one after the other: fuzz/run.sh [seconds for each, 60 by default]
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2
    exit 1
fi
# Sanitizers are unstable. A stable compiler has them too, but must be told that this is meant.
if ! rustc --version | grep -q nightly; then
    echo "no nightly toolchain: using the stable one with RUSTC_BOOTSTRAP=1" >&2
    export RUSTC_BOOTSTRAP=1
fi

for target in fuzz_targets/*.rs; do
    target=$(basename "$target" .rs)
    echo "== $target, $seconds s" >&2
    cargo fuzz run --fuzz-dir . "$target" -- -max_total_time="$seconds" -print_final_stats=1
done
