#!/usr/bin/env bash
# Builds FFmpeg as static libraries, links frameloom with them, and packs a bundle that runs on any x86-64 Linux
# whose glibc is at least as new as this machine's. Explained in docs/portable.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

work=$PWD/.portable      # everything that a second run uses again; safe to delete
downloads=$work/downloads
build=$work/build        # FFmpeg's unpacked source, built in place
fake_prefix=/opt/frameloom # what `ffmpeg -buildconf` shows; nothing is installed there
prefix=$work/root$fake_prefix
dist=$PWD/dist/frameloom-portable

# FFmpeg's version, and NVIDIA's headers: headers 12.1 work with drivers from 530 on, newer ones need newer drivers.
ffmpeg_series=9.
nv_headers_series=12.1.
suites=(sid forky trixie)

tools=(build-essential nasm clang libclang-dev pkg-config patchelf binutils xz-utils)
codecs=(
    libx264-dev libx265-dev libnuma-dev libvpx-dev libaom-dev libsvtav1enc-dev librav1e-dev
    libdav1d-dev libopus-dev libmp3lame-dev libzimg-dev zlib1g-dev
)
# Those of their libraries that go into the program; the others exist as shared libraries only and travel with it.
archives=(x264 x265 numa vpx aom opus mp3lame zimg z stdc++)
# Only their headers are used: the libraries are the system's, loaded when they are needed (scripts/late).
late=(libva-dev libvpl-dev)

options=(
    "--prefix=$fake_prefix" --disable-shared --enable-static --enable-pic --pkg-config-flags=--static
    --extra-libs=-lm # for libstdc++.a
    --disable-autodetect --disable-debug --disable-doc --disable-ffplay
    --enable-gpl --enable-iconv --enable-zlib --enable-libzimg
    --enable-libx264 --enable-libx265 --enable-libvpx --enable-libaom
    --enable-libsvtav1 --enable-librav1e --enable-libdav1d
    --enable-libopus --enable-libmp3lame
    --enable-ffnvcodec --enable-nvenc --enable-nvdec --enable-cuvid --enable-cuda-llvm
    --enable-vaapi --enable-libvpl
)

usage() {
    cat <<'TEXT'
Usage: ./dev portable [--ffmpeg TARBALL]

Builds dist/frameloom-portable/ and a .tar.xz of it: frameloom, ffmpeg and ffprobe, linked to the same FFmpeg 9.
The first run builds FFmpeg (5 to 10 minutes on 2 cores), later runs only frameloom.

  --ffmpeg TARBALL   build this FFmpeg source instead of Debian's

FRAMELOOM_DEBIAN_MIRROR=URL names the Debian mirror to take sources from; by default the one that apt uses here.
TEXT
}

# --- sources -----------------------------------------------------------------------------------------------------

debian_mirror() {
    if [[ -n ${FRAMELOOM_DEBIAN_MIRROR:-} ]]; then
        printf '%s\n' "$FRAMELOOM_DEBIAN_MIRROR"
    else
        apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
    fi
}

# Lets apt look at source packages without touching the system's configuration. apt checks signatures and checksums.
prepare_apt() {
    local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg apt=$work/apt suite
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || die "apt knows no Debian mirror here: set FRAMELOOM_DEBIAN_MIRROR=URL"
    need_packages debian-archive-keyring
    mkdir -p "$apt"/{state/lists/partial,cache/archives/partial}
    for suite in "${suites[@]}"; do
        printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite"
    done >"$apt/sources.list"
    cat >"$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Sandbox::User "root";
CONF
    export APT_CONFIG=$apt/apt.conf
    apt-get update -qq
}

# fetch PACKAGE SERIES: leaves the newest upstream tarball of that series in $downloads and prints its path.
fetch() {
    local package=$1 series=$2 version tarball
    version=$(apt-cache showsrc --only-source "$package" | sed -n 's/^Version: //p' |
        grep -E "^([0-9]+:)?${series//./\\.}" | sort -V | tail -n 1) ||
        die "the Debian mirror has no $package $series* any more (see ./dev portable --help)"
    (cd "$downloads" && apt-get source -qq --download-only --tar-only "$package=$version" >&2) ||
        die "could not download the source of $package $version"
    version=${version#*:}
    for tarball in "$downloads/${package}_${version%-*}.orig.tar."?z; do
        [[ -f $tarball ]] && printf '%s\n' "$tarball" && return
    done
    die "apt left no source of $package $version in $downloads"
}

# get PACKAGE SERIES: like fetch, but asks nobody when the tarball is already there.
get() {
    local there
    there=$(find "$downloads" -name "${1}_$2*.orig.tar.?z" | sort -V | tail -n 1)
    if [[ -n $there ]]; then
        printf '%s\n' "$there"
    else
        prepare_apt
        fetch "$1" "$2"
    fi
}

unpack() { # TARBALL FOLDER
    rm -rf "$2"
    mkdir -p "$2"
    tar -xf "$1" -C "$2" --strip-components=1
}

# --- FFmpeg ------------------------------------------------------------------------------------------------------

# Everything that FFmpeg's build depends on: when this text changes, FFmpeg is built again.
build_info() { # FFMPEG_TARBALL HEADERS_TARBALL
    printf 'source: %s\n' "$(cd "$(dirname "$1")" && sha256sum "$(basename "$1")")"
    printf 'source: %s\n' "$(cd "$(dirname "$2")" && sha256sum "$(basename "$2")")"
    (cd scripts/late && sha256sum build.sh late.c) | sed 's/^/source: /'
    printf 'option: %s\n' "${options[@]}"
    dpkg-query -W -f 'package: ${binary:Package} ${Version}\n' "${codecs[@]}" "${late[@]}"
}

# The folder for our archives comes first in the linker's search and holds no shared library, so that what is
# in it is linked statically, by FFmpeg's programs and by Rust alike.
link_archives() {
    local name path
    mkdir -p "$prefix/lib"
    for name in "${archives[@]}"; do
        path=$(c++ -print-file-name="lib$name.a")
        if [[ -f $path ]]; then
            ln -sf "$path" "$prefix/lib/"
        else
            note "this system has no lib$name.a: it will be a shared library in the bundle"
        fi
    done
}

build_ffmpeg() { # FFMPEG_TARBALL HEADERS_TARBALL
    say "Building FFmpeg from $(basename "$1") (log: .portable/build.log)"
    rm -rf "$work/root" "$work/target"
    link_archives
    scripts/late/build.sh "$prefix"
    unpack "$2" "$work/nv-codec-headers"
    make -s -C "$work/nv-codec-headers" PREFIX="$prefix" install >"$work/build.log"
    unpack "$1" "$build"
    (
        export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LIBRARY_PATH=$prefix/lib
        cd "$build" && ./configure "${options[@]}" && make -j "$(nproc)" && make install DESTDIR="$work/root"
    ) >>"$work/build.log" 2>&1 || {
        tail -n 20 "$work/build.log" >&2
        die "FFmpeg could not be built: see .portable/build.log and .portable/build/ffbuild/config.log"
    }
    # Makes the folder movable.
    sed -i "s|$fake_prefix|\${pcfiledir}/../..|g" "$prefix"/lib/pkgconfig/lib*.pc
}

ensure_ffmpeg() { # [TARBALL]
    local tarball headers info
    mkdir -p "$downloads"
    tarball=${1:-$(get ffmpeg "$ffmpeg_series")}
    headers=$(get nv-codec-headers "$nv_headers_series")
    info=$(build_info "$tarball" "$headers")
    if [[ -f $prefix/BUILD-INFO && $info == "$(<"$prefix/BUILD-INFO")" ]]; then
        say "FFmpeg is built already"
    else
        build_ffmpeg "$tarball" "$headers"
        printf '%s\n' "$info" >"$prefix/BUILD-INFO"
    fi
}

# --- frameloom and the bundle ------------------------------------------------------------------------------------

build_frameloom() {
    say "Building frameloom"
    env -u FFMPEG_DIR PKG_CONFIG_PATH="$prefix/lib/pkgconfig" CARGO_TARGET_DIR="$work/target" \
        cargo build --release --locked -p frameloom-cli --features static
}

# Prints "name path" of the shared libraries that a program needs and that glibc does not bring.
foreign_libraries() {
    ldd "$1" | awk '$2 == "=>" { print $1, $3 }' |
        grep -vE '^(libc|libm|libmvec|libdl|librt|libpthread|libutil|libresolv)\.so\.' || true
}

bundle() {
    local program name path
    say "Packing dist/frameloom-portable"
    rm -rf "$dist" "$dist.tar.xz"
    mkdir -p "$dist"/{bin,lib,licenses}
    for program in "$work/target/release/frameloom" "$prefix"/bin/{ffmpeg,ffprobe}; do
        while read -r name path; do
            [[ $path == /* ]] || die "$program needs $name, which is not on this machine"
            install -m 644 "$path" "$dist/lib/$name"
        done < <(foreign_libraries "$program")
        install -m 755 "$program" "$dist/bin/"
    done
    strip "$dist"/bin/*
    # RPATH rather than RUNPATH: the libraries beside the program also win over LD_LIBRARY_PATH.
    patchelf --force-rpath --set-rpath "\$ORIGIN/../lib" "$dist"/bin/*
    patchelf --force-rpath --set-rpath "\$ORIGIN" "$dist"/lib/*

    cp "$prefix/BUILD-INFO" "$dist/"
    cp LICENSE-* "$build"/COPYING.GPLv2 "$dist/licenses/"
    for name in "${codecs[@]}" "${late[@]}" libgcc-s1; do
        cp "/usr/share/doc/$name/copyright" "$dist/licenses/${name%-dev}"
    done
    cargo tree --locked -p frameloom-cli --edges normal --prefix none --format '{p} {l}' --no-dedupe |
        sed 's| (/[^)]*)||' | sort -u >"$dist/licenses/rust-crates"
    # The three programs hold the same libraries: a dictionary as large as two of them stores those once.
    tar -C dist --sort=name --owner=0 --group=0 --numeric-owner -c frameloom-portable |
        xz --lzma2=preset=1,dict=128MiB >"$dist.tar.xz"
}

# The bundle must work from another folder, without this machine's environment, and lean on nothing but glibc.
check_bundle() {
    local scratch program name path
    say "Checking the bundle"
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$scratch'" EXIT
    tar -xf "$dist.tar.xz" -C "$scratch"
    for program in "$scratch"/frameloom-portable/bin/*; do
        while read -r name path; do
            [[ $path == "$scratch"/* ]] || die "$(basename "$program") finds $name in $path, not in the bundle"
        done < <(foreign_libraries "$program")
    done
    env -i "$scratch/frameloom-portable/bin/frameloom" --version >&2 || die "the packed frameloom does not start"
    env -i "$scratch/frameloom-portable/bin/ffmpeg" -v error -f lavfi -i testsrc2=d=1 -c:v libx264 -f null - ||
        die "the packed ffmpeg does not encode"
    scripts/late/check.sh "$scratch/frameloom-portable"
    note "needs: $(objdump -T "$dist"/bin/* "$dist"/lib/* | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -n 1) or newer"
    note "size:  $(du -h "$dist.tar.xz" | cut -f 1) packed, $(du -sh "$dist" | cut -f 1) unpacked"
}

main() {
    local tarball=
    while [[ $# -gt 0 ]]; do
        case $1 in
        --ffmpeg)
            [[ -f ${2:-} ]] || die "--ffmpeg wants the path of a source tarball, not '${2:-}'"
            tarball=$(realpath "$2")
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        *) die "unknown argument '$1' (see ./dev portable --help)" ;;
        esac
        shift
    done
    [[ $(uname -sm) == "Linux x86_64" ]] || die "the portable build is for x86-64 Linux only"
    need_packages "${tools[@]}" "${codecs[@]}" "${late[@]}"
    need_rust
    ensure_ffmpeg "$tarball"
    build_frameloom
    bundle
    check_bundle
    say "Done: dist/frameloom-portable/bin/frameloom and dist/frameloom-portable.tar.xz"
}

main "$@"
