#!/usr/bin/env python3
"""Measures Frameloom beside FFmpeg, run by run in pairs, and writes every figure to bench/runs/<date>-<machine>/.

    bench/bench.py speed  [--cases x264-medium,...] [--pairs 5] [--seconds 60] [--cpus 0-15]
    bench/bench.py ladder [--seconds 64]     1080p into 1080p, 720p, 480p and 360p beside one FFmpeg command
    bench/bench.py memory                    peak memory of a 1-minute and a 10-minute job
    bench/bench.py rate   [FILES]            bits for the same quality (BD-rate) against FFmpeg with keys at the same times

Programs: --frameloom (default target/release/frameloom) and --ffmpeg (default: ffmpeg). Compare programs that are linked
to the same libraries: `./dev portable` makes such a pair. Only Python's standard library is used.
"""
import argparse, concurrent.futures, datetime, json, math, os, platform, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# name: (encoder, options for both by FFmpeg's names, key interval at 30 fps or None for FFmpeg's default, seconds of input)
CASES = {
    "x264-medium": ("libx264", {"preset": "medium", "crf": "23"}, 250, 60),
    "x264-ultrafast": ("libx264", {"preset": "ultrafast", "crf": "26"}, 250, 60),
    "x264-slower": ("libx264", {"preset": "slower", "crf": "23"}, 250, 60),
    "x265-medium": ("libx265", {"preset": "medium", "crf": "26"}, 250, 60),
    "svtav1-8": ("libsvtav1", {"preset": "8", "crf": "35"}, 300, 60),
    "svtav1-6": ("libsvtav1", {"preset": "6", "crf": "35"}, 300, 60),
    "rav1e": ("librav1e", {"speed": "8", "qp": "120"}, 60, 8),
    "aom": ("libaom-av1", {"cpu-used": "6", "crf": "35", "b": "0"}, 60, 8),
    "vpx": ("libvpx-vp9", {"cpu-used": "3", "crf": "35", "b": "0"}, 60, 8),
}


def run(command, **kw):
    """Wall seconds, CPU seconds and peak memory (KiB, largest process) of a command; its failure is ours."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **kw)
    _, stderr = process.communicate()
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{stderr.decode(errors='replace')}")
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def peak_memory(command):
    """Peak resident memory of a command in MiB, from GNU time's own accounting or a wait of our own."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return usage.ru_maxrss / 1024


PIECE = 15


def clip(args, seconds, size="1920x1080", rate=30):
    """A synthetic clip: test pattern blended with a zoom into a fractal, light noise, other colours every 7 s, sound. Made in
    pieces of 15 s, each of which zooms into the same place."""
    path = args.work / f"clip-{size}-{rate}-{seconds}.mp4"
    if path.exists():
        return path
    print(f"making {path.name}", file=sys.stderr)

    def piece(number):
        out = args.work / f"{path.stem}.piece{number}.mkv"
        if out.exists():
            return out
        start, length = number * PIECE, min(PIECE, seconds - number * PIECE)
        graph = (
            f"testsrc2=s={size}:r={rate}:d={start + length},trim=start={start},setpts=PTS-STARTPTS,hue=h='floor((t+{start})/7)*70'[a];"
            f"mandelbrot=s=480x270:r={rate}:end_scale=0.02:end_pts={PIECE * rate},trim=duration={length},"
            f"scale={size.replace('x', ':')},format=yuv420p[b];"
            f"[a][b]blend=all_mode=average,noise=alls=6:allf=t:all_seed={number + 1},format=yuv420p[v]"
        )
        part = out.with_suffix(".part.mkv")
        subprocess.run([args.ffmpeg, "-nostdin", "-v", "error", "-y", "-filter_complex", graph, "-map", "[v]", "-c:v", "libx264",
                        "-threads", "2", "-preset", "veryfast", "-b:v", "8M", "-g", "60", str(part)], check=True)
        part.rename(out)
        return out

    with concurrent.futures.ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)) // 2)) as pool:
        pieces = list(pool.map(piece, range(math.ceil(seconds / PIECE))))
    listing = path.with_suffix(".txt")
    listing.write_text("".join(f"file '{p.resolve()}'\n" for p in pieces))
    part = path.with_suffix(".part.mp4")
    subprocess.run([args.ffmpeg, "-nostdin", "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", str(listing), "-f", "lavfi", "-i",
                    f"sine=440:d={seconds}", "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", str(part)], check=True)
    part.rename(path)
    for p in pieces + [listing]:
        p.unlink()
    return path


def ffmpeg_command(args, case, source, out, extra=()):
    encoder, options, gop, _ = CASES[case]
    gop = args.gop or gop
    command = [args.ffmpeg, "-nostdin", "-v", "error", "-y", *extra, "-i", str(source), "-map", "0:v:0", "-map", "0:a?",
               "-c:a", "copy", "-c:v", encoder]
    for key, value in options.items():
        command += [f"-{key}" if key != "b" else "-b:v", value]
    if gop:
        command += ["-g", str(gop)]
    if encoder == "libx265":
        command += ["-x265-params", "log-level=error"]
    return command + [str(out)]


def frameloom_command(args, case, source, out, extra=()):
    encoder, options, gop, _ = CASES[case]
    gop = args.gop or gop
    command = [str(args.frameloom), "transcode", str(source), "-o", str(out), "-y", "-q", "--encoder", encoder]
    names = {"preset": "--preset", "crf": "--crf", "qp": "--qp", "speed": "--preset", "cpu-used": "--preset"}
    for key, value in options.items():
        if key in names:
            command += [names[key], value]
    if gop:
        command += ["--gop", str(gop)]
    return command + list(extra)


def split_by_hand(args, case, source, seconds, parts):
    """FFmpeg in `parts` processes, each with a stretch of the input, as one would do by hand (no joining, no sound)."""
    def part(i):
        extra = ["-ss", str(seconds * i / parts), "-t", str(seconds / parts)]
        return run(ffmpeg_command(args, case, source, args.work / f"part{i}.mkv", extra))
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(parts) as pool:
        list(pool.map(part, range(parts)))
    return time.monotonic() - begun


def options_of(args):
    """Sets of further options, each measured by itself beside the same run of FFmpeg."""
    return [v.split() for v in args.variants.split("|")] if args.variants is not None else [args.extra]


def speed(args):
    """Pairs of runs. With --ffmpeg-seconds FFmpeg gets a shorter input, and frames per second are compared: it has no segments
    to fill, so its speed doesn't depend on the length, and a long input costs it minutes. With --variants several runs of
    Frameloom stand beside one of FFmpeg."""
    rows = []
    for case in args.cases:
        seconds = args.seconds or CASES[case][3]
        short = args.ffmpeg_seconds or seconds
        source, theirs_source = clip(args, seconds), clip(args, short)
        out = args.work / f"out-{os.getpid()}.mkv"
        always = ["--segment", "2"] if case in ("rav1e", "aom", "vpx") else []
        of_case = [{"case": case, "seconds": seconds, "ffmpeg_seconds": short, "cores": len(os.sched_getaffinity(0)),
                    "gop": args.gop or CASES[case][2], "extra": extra, "pairs": [], "hand": []} for extra in options_of(args)]
        rows += of_case
        for number in range(args.pairs):
            begun = time.monotonic()

            def frameloom(extra):
                ours = run(frameloom_command(args, case, source, out, always + extra))
                return ours, out.stat().st_size / seconds

            def ffmpeg():
                theirs = run(ffmpeg_command(args, case, theirs_source, out) if not args.ffmpeg_extra else
                             ffmpeg_command(args, case, theirs_source, out)[:-1] + args.ffmpeg_extra + [str(out)])
                return theirs, out.stat().st_size / short

            # Ours first, then theirs first, and so on.
            turns = [*range(len(of_case)), None]
            measured = {turn: ffmpeg() if turn is None else frameloom(of_case[turn]["extra"])
                        for turn in (turns if number % 2 == 0 else reversed(turns))}
            theirs, their_size = measured[None]
            for i, row in enumerate(of_case):
                ours, size = measured[i]
                row["pairs"].append({"frameloom": ours, "ffmpeg": theirs, "bytes_per_second": [size, their_size],
                                     "wall_ratio": (ours["wall"] / seconds) / (theirs["wall"] / short)})
            took = time.monotonic() - begun
            if args.budget and time.monotonic() - args.begun + took > args.budget:
                break
        for parts in args.hand:
            of_case[0]["hand"].append({"parts": parts, "wall": split_by_hand(args, case, theirs_source, short, parts)})
        out.unlink()
        for row in of_case:
            row["wall_ratio_median"] = statistics.median(p["wall_ratio"] for p in row["pairs"])
            print_speed(row)
        args.save("speed", rows)


def print_speed(row):
    pairs, seconds, short = row["pairs"], row["seconds"], row["ffmpeg_seconds"]
    ratio, ratios = row["wall_ratio_median"], [p["wall_ratio"] for p in row["pairs"]]

    def med(who, what, length):
        return statistics.median(p[who][what] for p in pairs) / length
    by_hand = "  by hand " + " ".join(f"{h['parts']}:{h['wall']:.1f}" for h in row["hand"]) if row["hand"] else ""
    print(f"{row['case']:14} {len(pairs)} pairs  s per s of input: frameloom {med('frameloom', 'wall', seconds):6.3f} (cpu "
          f"{med('frameloom', 'cpu', seconds):6.2f})  ffmpeg {med('ffmpeg', 'wall', short):6.3f} (cpu {med('ffmpeg', 'cpu', short):6.2f})  "
          f"ratio {ratio:.3f} ({min(ratios):.3f}..{max(ratios):.3f}) = {1 / ratio:.2f} x  "
          f"bytes {pairs[0]['bytes_per_second'][0] / pairs[0]['bytes_per_second'][1]:.3f}{by_hand}  {' '.join(row['extra'])}", flush=True)


LADDER = [(1920, 1080), (1280, 720), (854, 480), (640, 360)]


def ladder(args):
    """Pairs of one command each that makes all renditions: FFmpeg with one decoder, a scaler and an encoder each."""
    rows = []
    for case in args.cases:
        seconds = args.seconds or CASES[case][3]
        source = clip(args, seconds)
        encoder, options, gop, _ = CASES[case]
        gop = args.gop or gop
        outs = [args.work / f"out-{os.getpid()}-{height}.mkv" for _, height in LADDER]
        theirs = [args.ffmpeg, "-nostdin", "-v", "error", "-y", "-i", str(source)]
        ours = [str(args.frameloom), "transcode", str(source), "-y", "-q", "--encoder", encoder, "--gop", str(gop)]
        for key, value in options.items():
            ours += [f"--{key}", value]
        for (width, height), out in zip(LADDER, outs):
            theirs += ["-map", "0:v:0", "-map", "0:a?", "-c:a", "copy"]
            theirs += ["-vf", f"scale={width}:{height}"] if height != 1080 else []
            theirs += ["-c:v", encoder, "-g", str(gop)]
            for key, value in options.items():
                theirs += [f"-{key}", value]
            theirs.append(str(out))
            ours += ["-o", f"{out},size={width}x{height}" if height != 1080 else str(out)]
        for extra in options_of(args):
            pairs = []
            for number in range(args.pairs):
                pair = {}
                for turn in (("frameloom", "ffmpeg") if number % 2 == 0 else ("ffmpeg", "frameloom")):
                    pair[turn] = run(ours + extra if turn == "frameloom" else theirs)
                    pair[f"{turn}_bytes"] = [out.stat().st_size for out in outs]
                pair["wall_ratio"] = pair["frameloom"]["wall"] / pair["ffmpeg"]["wall"]
                pairs.append(pair)
            ratio = statistics.median(p["wall_ratio"] for p in pairs)
            rows.append({"case": case, "seconds": seconds, "cores": len(os.sched_getaffinity(0)), "gop": gop, "extra": extra,
                         "renditions": LADDER, "pairs": pairs, "wall_ratio_median": ratio})
            args.save("ladder", rows)
            print(f"ladder {case:14} {len(pairs)} pairs  " + "  ".join(
                f"{who} {statistics.median(p[who]['wall'] for p in pairs):.1f} s (cpu {statistics.median(p[who]['cpu'] for p in pairs):.1f})"
                for who in ("frameloom", "ffmpeg")) + f"  ratio {ratio:.3f}  {' '.join(extra)}", flush=True)
    for out in outs:
        out.unlink()


def memory(args):
    rows = []
    for seconds in (60, 600):
        source = clip(args, seconds)
        command = frameloom_command(args, args.cases[0], source, args.work / "out.mkv") + args.extra
        rows.append({"input": source.name, "seconds": seconds, "peak_mib": peak_memory(command)})
        print(f"{source.name}: {rows[-1]['peak_mib']:.0f} MiB", flush=True)
    ratio = rows[1]["peak_mib"] / rows[0]["peak_mib"]
    print(f"ten minutes / one minute: {ratio:.3f}")
    args.save("memory", {"case": args.cases[0], "rows": rows, "ratio": ratio})


def bits_and_quality(args, source, out):
    """kbit/s of the video stream and its PSNR (all planes together) and VMAF where the program has it."""
    sizes = run_for_output([args.ffprobe, "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=size", "-of", "csv=p=0", str(out)])
    size = sum(int(x) for x in sizes.replace(",", " ").split())
    duration = float(run_for_output([args.ffprobe, "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(source)]))
    filters = "[0:v:0]settb=AVTB,setpts=N[a];[1:v:0]settb=AVTB,setpts=N[b];[a][b]"

    def measure(filter):
        command = [args.quality_ffmpeg, "-nostdin", "-hide_banner", "-i", str(out), "-i", str(source), "-fps_mode", "passthrough", "-lavfi",
                   filters + filter, "-f", "null", "-"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    psnr = float(measure("psnr").rsplit("average:", 1)[1].split()[0])
    vmaf = float(measure(f"libvmaf=n_threads={args.jobs}").rsplit("VMAF score:", 1)[1].split()[0]) if args.vmaf else None
    return {"kbps": size * 8 / duration / 1000, "psnr": psnr, "vmaf": vmaf}


def bd_rate(reference, other, metric):
    """Bjontegaard's rate difference in percent (cubic through four points, log rate over quality)."""
    def fit(points):
        xs, ys = [p[metric] for p in points], [math.log(p["kbps"]) for p in points]
        n = len(xs)
        rows = [[x ** k for k in range(n)] + [y] for x, y in zip(xs, ys)]
        for i in range(n):
            pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
            rows[i], rows[pivot] = rows[pivot], rows[i]
            for r in range(n):
                if r != i:
                    factor = rows[r][i] / rows[i][i]
                    rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i])]
        return [rows[i][n] / rows[i][i] for i in range(n)]
    low = max(min(p[metric] for p in reference), min(p[metric] for p in other))
    high = min(max(p[metric] for p in reference), max(p[metric] for p in other))
    area = lambda c: sum(k * (high ** (i + 1) - low ** (i + 1)) / (i + 1) for i, k in enumerate(c))
    return (math.exp((area(fit(other)) - area(fit(reference))) / (high - low)) - 1) * 100


def rate_row(args, case, source):
    """One clip: four rates of each way of encoding it, and the differences."""
    encoder, options, gop, _ = CASES[case]
    points = {"frameloom": [], "same_keys": [], "own_keys": []}
    base = float(options["crf"])
    out = args.work / f"rate-{case}-{source.stem}.mkv"
    # FFmpeg is given the first video stream; a file may have a larger one.
    first = run_for_output([args.ffprobe, "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=index", "-of", "csv=p=0", str(source)])
    ours = args.extra + ["--streams", first.split()[0].strip(",")]
    seams = []
    for crf in (base - 5, base - 1, base + 3, base + 7):
        name = f"{case} at {crf:g}"
        CASES[name] = (encoder, {**options, "crf": f"{crf:g}"}, None, 0)
        dry = run_for_output(frameloom_command(args, name, source, out, ours + ["--dry-run", "--json"]))
        plan = next(o for o in map(json.loads, dry.splitlines()) if o["type"] == "plan")
        num, den = map(int, plan["time_base"].split("/"))
        seams = [s["start"] * num / den for s in plan["segments"] if s["start"] is not None]
        # What FFmpeg takes by itself: 250 frames, or the library's own choice. Ours is in the plan.
        key_interval = ["-g", str(plan["gop"])]
        run(frameloom_command(args, name, source, out, ours))
        points["frameloom"].append(bits_and_quality(args, source, out))
        command = ffmpeg_command(args, name, source, out, ["-copyts"])
        keys = list(key_interval)
        if seams:
            # A time is met by the first frame that isn't before it: half a millisecond early is safe.
            keys += ["-force_key_frames", ",".join(f"{s - 0.0005:.6f}" for s in seams)]
            if encoder in ("libx264", "libx265"):
                keys += ["-forced-idr", "1"]
        run(command[:-1] + ["-fps_mode", "passthrough"] + keys + [command[-1]])
        points["same_keys"].append(bits_and_quality(args, source, out))
        run(command[:-1] + ["-fps_mode", "passthrough", command[-1]])
        points["own_keys"].append(bits_and_quality(args, source, out))
        out.unlink()
    row = {"case": case, "file": source.name, "segments": len(seams) + 1, "extra": args.extra, "points": points}
    for metric in ["psnr"] + (["vmaf"] if args.vmaf else []):
        for other in ("same_keys", "own_keys"):
            row[f"bd_{metric}_{other}"] = bd_rate(points[other], points["frameloom"], metric)
    return row


def run_for_output(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rate(args):
    """Against FFmpeg in one process with keys forced where our seams are, and against FFmpeg left to itself."""
    rows = []
    files = [Path(f) for f in args.files] + ([clip(args, args.synthetic, "640x360")] if args.synthetic else [])
    work = [(case, source) for case in args.cases for source in files]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(lambda w: rate_row(args, *w), work):
            rows.append(row)
            args.save("rate", rows)
            print(f"{row['case']:12} {row['file']:28} {row['segments']:3} segments ",
                  {k[3:]: round(v, 2) for k, v in row.items() if k.startswith("bd_")}, flush=True)
    for case in args.cases:
        of_case = [r for r in rows if r["case"] == case]
        means = {k[3:]: round(statistics.mean(r[k] for r in of_case), 2) for k in of_case[0] if k.startswith("bd_")}
        print(f"{case:12} mean of {len(of_case)} clips", means)


def without_paths(arguments):
    """What was asked for, without the places of this machine."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument in ("--frameloom", "--ffmpeg", "--ffprobe", "--quality-ffmpeg", "--work", "--out"):
            skip = not skip
        else:
            kept.append(os.path.basename(argument) if argument.startswith("/") else argument)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "ladder", "memory", "rate"])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--cases", default="x264-medium,x265-medium,svtav1-8", type=lambda t: t.split(","))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, help="length of the input; otherwise the case's own")
    parser.add_argument("--ffmpeg-seconds", type=int, help="length of FFmpeg's input, if another")
    parser.add_argument("--gop", type=int, help="key interval in frames; otherwise the case's own")
    parser.add_argument("--cpus", help="run on these processors only, 0-15 for instance")
    parser.add_argument("--jobs", type=int, default=1, help="rate: clips at once")
    parser.add_argument("--synthetic", type=int, default=0, help="rate: also a synthetic clip of so many seconds")
    parser.add_argument("--name", help="name of the results' file")
    parser.add_argument("--hand", default=[], type=lambda t: [int(x) for x in t.split(",")], help="also FFmpeg by hand in so many parts")
    parser.add_argument("--budget", type=float, default=0, help="begin no further pair after so many seconds")
    parser.add_argument("--frameloom", default=ROOT / "target/release/frameloom")
    parser.add_argument("--ffmpeg", default="ffmpeg")
    parser.add_argument("--ffprobe", default="ffprobe")
    parser.add_argument("--quality-ffmpeg", help="program that measures PSNR (and with --vmaf VMAF); otherwise --ffmpeg")
    parser.add_argument("--vmaf", action="store_true")
    parser.add_argument("--label", default=platform.node() or "machine", help="names the machine in the results' folder")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "bench/work")
    parser.add_argument("--extra", default=[], type=lambda t: t.split(), help="further options for frameloom")
    parser.add_argument("--variants", help="sets of further options for frameloom, joined by |, each beside the same run of ffmpeg")
    parser.add_argument("--ffmpeg-extra", default=[], type=lambda t: t.split(), help="further output options for ffmpeg")
    args = parser.parse_intermixed_args()
    args.begun = time.monotonic()
    if args.cpus:
        first, _, last = args.cpus.partition("-")
        os.sched_setaffinity(0, range(int(first), int(last or first) + 1))
    args.quality_ffmpeg = args.quality_ffmpeg or args.ffmpeg
    args.work.mkdir(parents=True, exist_ok=True)
    out = args.out or ROOT / "bench/runs" / f"{datetime.date.today()}-{args.label}"
    out.mkdir(parents=True, exist_ok=True)
    version = lambda c: subprocess.run(c, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    facts = {"frameloom": version([str(args.frameloom), "--version"]), "ffmpeg": version([args.ffmpeg, "-version"]),
             "cores": len(os.sched_getaffinity(0)), "machine": platform.machine(), "arguments": without_paths(sys.argv[1:])}

    def save(name, rows):
        path = out / f"{args.name or name}-{facts['cores']}cores.json"
        path.write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n")

    args.save = save
    {"speed": speed, "ladder": ladder, "memory": memory, "rate": rate}[args.what](args)


main()
