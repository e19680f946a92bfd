#!/usr/bin/env python3
"""How long a frame stays in frameloom, measured from outside.

Makes clips (720p, 30 fps, MPEG-TS), writes them into a pipe at the pace of a camera (the bytes of frame n at n / 30 s), reads what
comes out, and compares the times: from the last byte of a frame that was written to the last byte of its picture that was read.

    bench/latency.py target/release/frameloom [-- more options of transcode]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

RATE = 30
TS = 188


def pts_of(payload):
    """Presentation time of a PES packet in ticks of 1/90000 s."""
    if payload[:3] != b"\0\0\1" or not payload[7] & 0x80:
        return None
    b = payload[9:14]
    return (b[0] >> 1 & 7) << 30 | b[1] << 22 | b[2] >> 1 << 15 | b[3] << 7 | b[4] >> 1


def packets(data, at=0):
    """(offset, PID, pts of a video PES that begins here or None) of the transport packets."""
    while at + TS <= len(data):
        packet = data[at : at + TS]
        if packet[0] != 0x47:
            sys.exit(f"no transport packet at byte {at}")
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        begin = 4 + (packet[4] + 1 if packet[3] & 0x20 else 0)
        payload = packet[begin:]
        pts = None
        if packet[1] & 0x40 and len(payload) > 13 and payload[:3] == b"\0\0\1" and payload[3] & 0xF0 == 0xE0:
            pts = pts_of(payload)
        yield at, pid, pts
        at += TS


def clip(folder, name, seconds, options, sound):
    path = os.path.join(folder, name + ".ts")
    tone = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"] if sound else []
    audio = ["-c:a", "aac", "-b:a", "128k"] if sound else []
    picture = f"testsrc2=size=1280x720:rate={RATE}:duration={seconds}"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", picture, *tone]
    subprocess.run(command + ["-pix_fmt", "yuv420p", "-g", "60", *options, *audio, path], check=True)
    with open(path, "rb") as file:
        return file.read()


def measure(program, data, options, container="mpegts"):
    """Seconds that each frame stayed, in the order in which they were shown, and what the program measured itself."""
    frames = [(at, pts) for at, _, pts in packets(data) if pts is not None]
    command = [program, "--json", "transcode", "-", "-o", "OUT", "--format", container, *options]
    folder = tempfile.mkdtemp()
    # A named pipe, as --json wants standard output.
    out = os.path.join(folder, "out")
    os.mkfifo(out)
    command[command.index("OUT")] = out
    child = subprocess.Popen(command + ["-y"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    came = []

    def read():
        rest = b""
        with open(out, "rb", buffering=0) as file:
            while chunk := file.read(1 << 16):
                now, rest = time.monotonic(), rest + chunk
                whole = len(rest) - len(rest) % TS
                for _, pid, pts in packets(rest[:whole]):
                    if pts is not None:
                        came.append([pts, pid, now])
                    elif came and pid == came[-1][1]:
                        came[-1][2] = now
                rest = rest[whole:]

    reader = threading.Thread(target=read)
    reader.start()
    begun = time.monotonic()
    sent = []
    for n, (at, pts) in enumerate(frames):
        time.sleep(max(0.0, begun + n / RATE - time.monotonic()))
        end = frames[n + 1][0] if n + 1 < len(frames) else len(data)
        child.stdin.write(data[0 if n == 0 else at : end])
        child.stdin.flush()
        sent.append((pts, time.monotonic()))
    child.stdin.close()
    lines = [json.loads(line) for line in child.stdout]
    reader.join()
    if child.wait():
        sys.exit("it failed")
    os.remove(out)
    os.rmdir(folder)
    if len(came) != len(sent):
        sys.exit(f"{len(sent)} frames went in, {len(came)} came out")
    stayed = [after[2] - before[1] for before, after in zip(sorted(sent), sorted(came))]
    own = [o for line in lines if line["type"] == "summary" for o in line["outputs"]][0].get("latency")
    return stayed, own


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--only", default="", help="cases with this in their name")
    args, more = parser.parse_known_args()
    more = [option for option in more if option != "--"]
    x264 = ["-c:v", "libx264", "-preset", "ultrafast"]
    sources = {
        "no B-frames": (x264 + ["-bf", "0"], False),
        "3 B-frames": (x264 + ["-bf", "3"], False),
        "no B-frames, sound": (x264 + ["-bf", "0"], True),
    }
    print("| source | profile | median | 95 % | worst | worst after 1 s | the program's own |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (options, sound) in sources.items():
            data = clip(folder, "clip", args.seconds, options, sound)
            for profile in ["low-latency-hq", "low-latency-fast"]:
                if args.only not in f"{name} {profile}":
                    continue
                encoder = [] if "--encoder" in more else ["--encoder", "libx264"]
                settings = [*encoder, "--profile", profile, *more]
                stayed, own = measure(args.program, data, settings)
                spread = statistics.quantiles(stayed, n=20)
                shown = [statistics.median(stayed), spread[-1], max(stayed), max(stayed[RATE:])]
                cells = " | ".join(f"{s * 1000:.0f} ms ({s * RATE:.1f})" for s in shown)
                own = own and f"{own['median_ms']:.0f} ms, {own['worst_ms']:.0f} ms, {own['frames']} frames"
                print(f"| {name} | {profile} | {cells} | {own} |", flush=True)
    print("\nIn brackets: frame times of 1/30 s.")


if __name__ == "__main__":
    main()
