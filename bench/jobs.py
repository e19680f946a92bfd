#!/usr/bin/env python3
"""Many short inputs with three outputs each in one process, against the rate of the same work in a warm process.

    python3 bench/jobs.py --frameloom target/release/frameloom --out bench/runs/DATE-MACHINE/jobs.json

"cost" is the wall time of `frameloom run` with all jobs, divided by the time that their frames take at the rate that
`frameloom bench transcode` reaches with as many sessions as there are cores: start-up, planning, muxing and checking of every job are in
the first and not in the second. The two are measured in turns.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

OUTPUTS = [("360", "libx264", 23), ("270", "libx264", 25), ("180", "libx264", 27)]


def run(command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def make_inputs(folder, count, seconds):
    for number in range(count):
        source = f"testsrc2=size=640x360:rate=30:duration={seconds},hue=h={number * 11},noise=alls={number % 5}:allf=t"
        run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "libx264",
             "-preset", "veryfast", "-crf", "18", "-g", "60", f"{folder}/in{number:02}.mp4"])


def job_file(folder, preset):
    lines = ["[defaults]", f'preset = "{preset}"', 'audio = "none"', "", "[[job]]", 'input = "in*.mp4"']
    outputs = [f'"out/{{stem}}-{height}.mp4,size=-2x{height},encoder={encoder},crf={crf}"' for height, encoder, crf in OUTPUTS]
    lines.append(f"output = [{', '.join(outputs)}]")
    path = os.path.join(folder, "jobs.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


def warm_rate(program, path, cores, preset):
    command = [program, "bench", "transcode", path, "--sessions", str(cores), "--seconds", "6", "--json", "--preset", preset]
    for height, encoder, crf in OUTPUTS:
        command += ["-o", f"x{height}.mp4,size=-2x{height},encoder={encoder},crf={crf}"]
    said = [json.loads(line) for line in run(command).stdout.splitlines()]
    return next(s["fps"] for s in said if s["type"] == "bench")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frameloom", required=True)
    parser.add_argument("--jobs", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4, help="length of each input")
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    args = parser.parse_args()
    program = os.path.abspath(args.frameloom)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        make_inputs(folder, args.jobs, args.seconds)
        os.mkdir(os.path.join(folder, "out"))
        path = job_file(folder, args.preset)
        frames = round(args.jobs * args.seconds * 30)
        rounds = []
        for _ in range(args.rounds):
            # One input of each kind of noise: time for a frame, on average.
            kinds = min(5, args.jobs)
            per_frame = sum(1 / warm_rate(program, f"{folder}/in{kind:02}.mp4", cores, args.preset) for kind in range(kinds)) / kinds
            rate = 1 / per_frame
            begun = time.monotonic()
            run([program, "run", path, "--yes"], cwd=folder)
            wall = time.monotonic() - begun
            rounds.append({"warm_fps": rate, "warm_seconds": frames / rate, "wall_seconds": wall, "cost": wall * rate / frames})
            print(f"{frames} frames: {wall:.1f} s; warm {frames / rate:.1f} s; cost {rounds[-1]['cost']:.3f}", file=sys.stderr)
        result = {
            "jobs": args.jobs, "outputs": OUTPUTS, "seconds_each": args.seconds, "preset": args.preset, "cores": cores, "rounds": rounds,
            "cost": statistics.median(r["cost"] for r in rounds),
            "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        }
    text = json.dumps(result, indent=1)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)


main()
