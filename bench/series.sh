#!/usr/bin/env bash
# The measurements that the README reports, on a machine with many cores and nothing but the portable bundle:
#   bench/series.sh wide FOLDER     all cores on one job: long inputs, four segments per worker
#   bench/series.sh lanes FOLDER    two cores each, side by side
#   bench/series.sh slow FOLDER     rav1e, libaom, libvpx on all cores
#   bench/series.sh threads FOLDER  numbers of workers and threads, on an input of eight segments
#   bench/series.sh ladder FOLDER   four outputs of one input
# FOLDER gets the results; $BUNDLE is the unpacked bundle.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what=$1 out=$2
bin=${BUNDLE:-dist/frameloom-portable}/bin
work=${WORK:-/tmp/frameloom-bench}
mkdir -p "$out" "$work"
bench() {
    python3 bench/bench.py "$@" --frameloom "$bin/frameloom" --ffmpeg "$bin/ffmpeg" --ffprobe "$bin/ffprobe" \
        --work "$work" --out "$out" 2>>"$out/$what-errors.txt"
}
case $what in
wide)
    seconds=${SECONDS_OF_INPUT:-128}
    for case in ${CASES:-x265-medium x264-slower svtav1-6 x264-medium}; do
        bench speed --cases "$case" --gop 120 --seconds "$seconds" --ffmpeg-seconds "${FFMPEG_SECONDS:-32}" \
            --pairs "${PAIRS:-1}" --extra="--segment 4 ${EXTRA:-}" --name "wide-$case"
    done
    ;;
lanes)
    seconds=${SECONDS_OF_INPUT:-60}
    # The input once, before anybody is timed.
    bench speed --cases x264-ultrafast --seconds "$seconds" --pairs 1 --name warm >/dev/null
    lane() { # NUMBER CASES...
        local number=$1 run=0
        shift
        for case in "$@"; do
            bench speed --cases "$case" --seconds "$seconds" --pairs 1 --cpus "$((2 * number))-$((2 * number + 1))" \
                --name "lane$number-$case-$((++run))"
        done
    }
    # One word a lane, its cases joined by +; the default wants 32 cores.
    x265=x265-medium svt=svtav1-8 x264=x264-medium+x264-medium
    number=0
    for cases in ${LANES:-$x265 $svt $x264 $x265 $svt $x264 $x265 $svt $x264 $x265 $svt $x265 $svt $x265 $svt $x264}; do
        IFS=+ read -ra list <<<"$cases"
        lane "$number" "${list[@]}" &
        number=$((number + 1))
    done
    wait
    ;;
slow) bench speed --cases rav1e,aom,vpx --seconds "${SECONDS_OF_INPUT:-32}" --pairs "${PAIRS:-1}" --name slow ;;
threads)
    for case in ${CASES:-x264-slower x265-medium}; do
        bench speed --cases "$case" --gop 120 --seconds "${SECONDS_OF_INPUT:-32}" --pairs "${PAIRS:-1}" --name "threads-$case" \
            --variants "--segment 4|--segment 4 --workers 4 --threads-per-worker 8|--segment 4 --workers 2 --threads-per-worker 16"
    done
    ;;
ladder)
    bench ladder --cases x264-medium --gop 240 --seconds "${SECONDS_OF_INPUT:-64}" --pairs "${PAIRS:-1}" --name ladder-x264-medium
    ;;
*)
    echo "unknown series $what" >&2
    exit 2
    ;;
esac
