#!/usr/bin/env bash
# Puts libcuda.so.1, a stand-in for NVIDIA's driver, into target/stand-in, unless it is there and up to date; prints that folder.
# Exit status 3: there is no clang++.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

folder=$(cd ../../.. && pwd)/target/stand-in
library=$folder/libcuda.so.1
compiler=${CLANGXX:-clang++}
mkdir -p "$folder"

# Tests that run side by side ask for it at once.
exec 9>"$folder/lock"
flock 9
if [[ ! -f $library || -n $(find . ../kernels -newer "$library" ! -name '*.ptx' -print -quit) ]]; then
    if ! command -v "$compiler" >/dev/null; then
        echo "there is no $compiler" >&2
        exit 3
    fi
    # Contraction is off, as for GPUs: what is to be fused says so.
    "$compiler" -std=c++17 -x c++ -DFRAMELOOM_STAND_IN -O2 -ffp-contract=off -fno-math-errno -fPIC -shared -fvisibility=hidden \
        -Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-pass-failed -o "$library.part" \
        driver.cpp foreign.cpp machine.cpp kernels.cpp
    mv "$library.part" "$library"
    # The name under which it is looked for first, also where a toolkit is installed.
    ln -sf libcuda.so.1 "$folder/libcuda.so"
fi
printf '%s\n' "$folder"
