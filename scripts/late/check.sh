#!/usr/bin/env bash
# check.sh BUNDLE: do its programs call the system's libva and libvpl where it has them, and say so where it has not?
# No GPU is needed: what stands for the system's libraries is a fake (fake.c), and for a GPU's device /dev/null.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/common.sh
source ../common.sh

# expect WHAT TEXT LIBRARIES PROGRAM ARGS: the program must fail by itself, with TEXT in what it prints.
expect() {
    local what=$1 text=$2 libraries=$3 output status=0
    shift 3
    output=$(env -i LD_LIBRARY_PATH="$libraries" "$@" 2>&1 </dev/null) || status=$?
    if [[ $status -eq 0 || $status -ge 128 && $status -lt 160 ]] || ! grep -qF "$text" <<<"$output"; then
        printf '%s\n' "$output" >&2
        die "$what: wanted a failure that says '$text', got exit status $status and what stands above: $*"
    fi
}

main() {
    [[ $# -eq 1 ]] || die "usage: check.sh BUNDLE"
    local bin scratch name encoders
    bin=$(cd "$1/bin" && pwd)
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$scratch'" EXIT

    encoders=$(env -i "$bin/ffmpeg" -hide_banner -encoders)
    for name in {h264,hevc,av1}_{vaapi,qsv}; do
        grep -qE "^ [A-Z.]+ $name " <<<"$encoders" || die "the packed ffmpeg has no encoder $name"
    done
    # What the system's drivers bring themselves: an older one of ours would keep them from loading.
    for name in "$bin"/../lib/lib{va,vpl,drm,stdc++}[.-]*; do
        [[ ! -e $name ]] || die "the bundle holds $(basename "$name"), which must be the system's"
    done

    mkdir "$scratch/fake" "$scratch/none"
    cc -std=c11 -O2 -fPIC -shared -Wall -Wextra -Werror -o "$scratch/fake/libva.so.2" fake.c
    cp "$scratch/fake/libva.so.2" "$scratch/fake/libva-drm.so.2"
    cp "$scratch/fake/libva.so.2" "$scratch/fake/libvpl.so.2"
    # The linker gives up at an empty file and looks no further.
    touch "$scratch/none/lib"{va,va-drm,vpl}.so.2

    local upload=(-v error -vaapi_device /dev/null -f lavfi -i testsrc2=size=320x240 -frames:v 1
        -vf 'format=nv12,hwupload' -f null -)
    local qsv=(-v error -init_hw_device 'qsv=q:hw,child_device=/dev/null' -f lavfi -i testsrc2 -f null -)
    expect "VAAPI with libva" "the fake libva makes no NV12 surface of 320x240" "$scratch/fake" "$bin/ffmpeg" "${upload[@]}"
    expect "VAAPI without libva" "this system's libva can't be loaded" "$scratch/none" "$bin/ffmpeg" "${upload[@]}"
    expect "VAAPI without a GPU" "Failed to set value '/dev/dri/none'" "" "$bin/ffmpeg" -vaapi_device /dev/dri/none -i none
    expect "QSV with libvpl" "Error adding a MFX configuration property: -14" "$scratch/fake" "$bin/ffmpeg" "${qsv[@]}"
    expect "QSV without libva" "this system's libva can't be loaded" "$scratch/none" "$bin/ffmpeg" "${qsv[@]}"
    rm "$scratch/fake/libvpl.so.2"
    cp "$scratch/none/libvpl.so.2" "$scratch/fake/"
    expect "QSV without libvpl" "Error creating a MFX loader" "$scratch/fake" "$bin/ffmpeg" "${qsv[@]}"

    env -i "$bin/ffmpeg" -v error -f lavfi -i testsrc2=duration=1 -c:v libx264 "$scratch/in.mkv"
    for name in h264_vaapi h264_qsv; do
        expect "frameloom's $name without libva" "$name" "$scratch/none" \
            "$bin/frameloom" transcode "$scratch/in.mkv" -o "$scratch/out.mkv" --encoder "$name"
    done
}

main "$@"
