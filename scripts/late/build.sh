#!/usr/bin/env bash
# build.sh PREFIX: puts libframeloom-late.a (late.c) into PREFIX/lib, and into PREFIX/lib/pkgconfig files that name it
# as libva, libva-drm and libvpl. Their headers, and the names of their functions, are the system's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/common.sh
source ../common.sh

# The functions of a shared library that begin with PATTERN, each once (a library may have two versions of one).
functions() { # LIBRARY PATTERN
    local path
    path=$(cc -print-file-name="lib$1.so")
    [[ -f $path ]] || die "there is no lib$1.so here: install lib$1-dev"
    nm -D --defined-only "$path" | awk -v pattern="^$2" '$2 == "T" && $3 ~ pattern { sub(/@.*/, "", $3); print $3 }' |
        LC_ALL=C sort -u
}

# What late.c includes: LATE_VA(name, what to call where the system has no such function).
list() {
    functions va 'va[A-Z]' | sed -E '
        s/^va\w*Str$/LATE_VA(&, va_no_text)/; t
        s/^(vaMaxNum\w*|vaDisplayIsValid|vaQueryVendorString|vaGetLibFunc|vaSet(Error|Info)Callback)$/LATE_VA(&, va_no_thing)/; t
        s/.*/LATE_VA(&, va_no)/'
    functions vpl 'MFX' | sed -E '
        /^MFXLoad$/d
        s/^(MFXCreateConfig|MFXUnload)$/LATE_VPL(&, vpl_no_thing)/; t
        s/.*/LATE_VPL(&, vpl_no)/'
}

pkg_config_file() { # NAME
    local version
    version=$(pkg-config --modversion "$1") || die "pkg-config knows no $1: install libva-dev and libvpl-dev"
    cat >"$prefix/lib/pkgconfig/$1.pc" <<PC
Name: $1
Description: $1, loaded when it is first used
Version: $version
Cflags: $(pkg-config --cflags "$1")
Libs: -lframeloom-late -ldl -lpthread
PC
}

main() {
    [[ $# -eq 1 ]] || die "usage: build.sh PREFIX"
    prefix=$1
    local scratch name
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$scratch'" EXIT
    list >"$scratch/list.h"
    # Hidden: a program must not offer these functions to the drivers that it loads.
    cc -std=c11 -O2 -fPIC -fvisibility=hidden -Wall -Wextra -Werror -Wno-cast-function-type -I"$scratch" -c -o "$scratch/late.o" late.c
    mkdir -p "$prefix/lib/pkgconfig"
    rm -f "$prefix/lib/libframeloom-late.a"
    ar rcs "$prefix/lib/libframeloom-late.a" "$scratch/late.o"
    for name in libva libva-drm vpl; do
        pkg_config_file "$name"
    done
}

main "$@"
