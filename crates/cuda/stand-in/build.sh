#!/usr/bin/env bash
# Puts libcuda.so.1, a stand-in for NVIDIA's driver, and libnvjpeg-stand-in.so into target/stand-in, unless they are there and up to
# date; prints that folder. Exit status 3: there is no clang++.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

folder=$(cd ../../.. && pwd)/target/stand-in
library=$folder/libcuda.so.1
compiler=${CLANGXX:-clang++}
mkdir -p "$folder"

# Tests that run side by side ask for it at once.
exec 9>"$folder/lock"
flock 9
jpeg=$folder/libnvjpeg-stand-in.so
up_to_date() { # FILE
    [[ -f $1 && -z $(find . ../kernels -newer "$1" ! -name '*.ptx' -print -quit) ]]
}
need_compiler() {
    if ! command -v "$compiler" >/dev/null; then
        echo "there is no $compiler" >&2
        exit 3
    fi
}
if ! up_to_date "$library"; then
    need_compiler
    # Contraction is off, as for GPUs: what is to be fused says so.
    "$compiler" -std=c++17 -x c++ -DFRAMELOOM_STAND_IN -O2 -ffp-contract=off -fno-math-errno -fPIC -shared -fvisibility=hidden \
        -Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-pass-failed -o "$library.part" \
        driver.cpp foreign.cpp machine.cpp kernels.cpp
    mv "$library.part" "$library"
    # The name under which it is looked for first, also where a toolkit is installed.
    ln -sf libcuda.so.1 "$folder/libcuda.so"
fi
# Under a name by which nothing finds it by chance.
if ! up_to_date "$jpeg"; then
    need_compiler
    read -ra ffmpeg <<<"$(pkg-config --cflags --libs libavcodec libavutil)"
    "$compiler" -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror -Wno-deprecated-declarations \
        -o "$jpeg.part" jpeg.cpp "${ffmpeg[@]}"
    mv "$jpeg.part" "$jpeg"
fi
printf '%s\n' "$folder"
