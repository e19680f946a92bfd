#!/usr/bin/env bash
# Compiles crates/cuda/kernels/*.cu to PTX with clang alone: no CUDA toolkit is needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../crates/cuda/kernels"

compiler=${CLANG:-clang}
"$compiler" --version | head -n 1
body=$(mktemp)
trap 'rm -f "$body"' EXIT
# Contraction is off: what is to be fused says so, and every GPU computes the same.
"$compiler" -x cuda --cuda-device-only --cuda-gpu-arch=sm_61 -nocudainc -nocudalib -S -O3 -ffp-contract=off \
    -Wall -Wextra -Werror -Wno-unknown-cuda-version -o "$body" all.cu
{
    # The test `the_ptx_is_that_of_the_source` compares this line.
    printf '// source %s\n' "$(cat ./*.cuh ./*.cu | sha256sum | cut -d ' ' -f 1)"
    cat "$body"
} >frameloom.ptx
printf 'frameloom.ptx: %s kernels\n' "$(grep -c '^\.visible \.entry' frameloom.ptx)"
