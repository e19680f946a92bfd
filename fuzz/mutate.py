#!/usr/bin/env python3
"""Runs the real program on damaged media files, and checks that it says what is wrong and leaves nothing behind.

    fuzz/mutate.py [--count 200] [--seed 1] [--first 0] [--jobs 2] [--program target/release/frameloom]
                   [--memory 2048] [--limit 120] [--only TEXT] [--errors] [--keep]

Sample clips are made with ffmpeg from the recipes of the end-to-end tests (crates/cli/tests/suite/clips/recipes.rs), a
few more containers, and the first second of any real footage beside the repository. Each trial takes a clip, damages a
copy, probes and transcodes it, all as its number and the seed say: `--seed 1 --first 17 --count 1` repeats trial 17.

A trial fails when a run
  - is ended by a signal, panics, or ends with an exit code that isn't documented,
  - takes longer than --limit seconds, or more memory than --memory MiB where that isn't reported as an error,
  - fails with no line or several lines that begin with "error:", or with anything left but its resumable job folder,
  - succeeds with an output that ffmpeg doesn't decode without a complaint.
What it was fed is then kept in fuzz/artifacts, with the commands beside it. Only Python's standard library is used.
"""
import argparse, collections, concurrent.futures, os, random, re, resource, shlex, shutil, signal, struct, subprocess, sys
import tempfile, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "crates/cli/tests/suite/clips/recipes.rs"
ARTIFACTS = ROOT / "fuzz/artifacts"
WORK = ROOT / "fuzz/target/mutated"
FFMPEG = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-y"]

# Containers and codecs that the tests' recipes don't have. {name} stands for another clip.
TEST = "-f lavfi -i testsrc2=s=192x108:r=25:d=2"
TONE = "-f lavfi -i sine=440:r=48000:d=2"
MORE = {
    "f_flv.flv": "-i {plain} -c copy -f flv",
    "f_flv1.flv": f"{TEST} -c:v flv1 -g 15 -q:v 4",
    "f_frag.mp4": "-i {plain} -c copy -movflags frag_keyframe+empty_moov",
    "f_m2ts.m2ts": "-i {plain} -c copy -f mpegts -mpegts_m2ts_mode 1",
    "f_ivf_vp9.ivf": "-i {vp9_hidden} -c copy",
    "f_ivf_av1.ivf": "-i {av1} -c copy",
    "f_obu.obu": "-i {av1} -c copy",
    "f_y4m.y4m": "-f lavfi -i testsrc2=s=64x48:r=25:d=1 -pix_fmt yuv420p",
    "f_gif.gif": "-f lavfi -i testsrc2=s=96x64:r=10:d=2",
    "f_apng.apng": "-f lavfi -i testsrc2=s=96x64:r=10:d=2 -f apng",
    "f_mpeg1.mpg": f"{TEST} {TONE} -c:v mpeg1video -bf 2 -g 12 -q:v 4 -c:a mp2 -f mpeg",
    "f_vob.vob": f"{TEST} {TONE} -c:v mpeg2video -bf 2 -g 12 -q:v 4 -c:a ac3 -f vob",
    "f_m2v.m2v": f"{TEST} -c:v mpeg2video -bf 2 -g 12 -q:v 4",
    "f_m4v.m4v": f"{TEST} -c:v mpeg4 -g 15 -q:v 4 -f m4v",
    "f_mjpeg.mjpeg": f"{TEST} -c:v mjpeg -q:v 4",
    "f_ogg.ogv": f"{TEST} {TONE} -c:v libtheora -q:v 4 -c:a libvorbis",
    "f_asf.wmv": f"{TEST} {TONE} -c:v wmv2 -g 15 -q:v 4 -c:a wmav2",
    "f_nut.nut": f"{TEST} {TONE} -c:v mpeg4 -g 15 -q:v 4 -c:a flac",
    "f_mxf.mxf": "-f lavfi -i testsrc2=s=192x108:r=25:d=2 -f lavfi -i sine=440:r=48000:d=2 -c:v mpeg2video -g 12 -q:v 4",
    "f_3gp.3gp": "-f lavfi -i testsrc2=s=176x144:r=25:d=2 -c:v h263 -g 15 -q:v 4",
    "f_av1.mp4": f"{TEST} {TONE} -c:v libsvtav1 -preset 10 -g 20 -svtav1-params lp=1 -c:a aac",
    "f_hevc.mp4": f"{TEST} {TONE} -c:v libx265 -preset ultrafast -x265-params keyint=15:log-level=error -c:a aac",
    "f_subs.mkv": "-i {many} -map 0:v -map 0:s -map 0:t -c copy",
    "f_pcm.mov": f"{TEST} {TONE} -c:v prores_ks -profile:v 0 -c:a pcm_s16le",
    "f_raw.avi": "-f lavfi -i testsrc2=s=64x48:r=25:d=1 -c:v rawvideo -pix_fmt yuv420p",
    "f_huff.avi": "-f lavfi -i testsrc2=s=96x64:r=25:d=1 -c:v huffyuv",
    "f_png.mov": "-f lavfi -i testsrc2=s=96x64:r=25:d=1 -c:v png",
    "f_dnxhd.mov": "-f lavfi -i testsrc2=s=1280x720:r=25:d=0.2 -c:v dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p",
    "f_dv.dv": "-f lavfi -i testsrc2=s=720x576:r=25:d=0.2 -pix_fmt yuv420p -f dv",
    "f_msmpeg4.avi": f"{TEST} -c:v msmpeg4 -g 15 -q:v 4",
    "f_opus.webm": f"{TEST} {TONE} -c:v libvpx -deadline realtime -cpu-used 8 -g 15 -b:v 200k -c:a libopus",
}


# ---------------------------------------------------------------------------------------------------------- sample clips


def recipes():
    """The tests' recipes: name -> (ending, "ffmpeg", arguments) or (ending, "bytes", bytes) or (ending, "join", names)."""
    text = re.sub(r"^\s*//.*$", "", RECIPES.read_text(), flags=re.M)
    body = text[text.index("recipes! {") :]
    found = {}
    string = r'"((?:[^"\\]|\\.)*)"'
    for match in re.finditer(r'(\w+) "(\w+)" (?:(Ffmpeg)\(' + string + r"\)|(Bytes)\(b" + string + r"\)|(Join)\(&\[(.*?)\]\));", body, re.S):
        name, ending = match[1], match[2]
        if match[3]:
            found[name] = (ending, "ffmpeg", unescape(match[4]))
        elif match[5]:
            found[name] = (ending, "bytes", unescape(match[6]).encode())
        else:
            found[name] = (ending, "join", re.findall(r'"(\w+)"', match[8]))
    return found


def unescape(rust):
    rust = re.sub(r"\\\n\s*", "", rust)
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "0": "\0"}.get(m[1], m[1]), rust)


class Clips:
    """Makes clips once and remembers their paths."""

    def __init__(self, folder):
        self.folder = folder
        self.recipes = recipes()
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name):
        ending, how, what = self.recipes[name]
        path = self.folder / f"{name}.{ending}"
        if path.exists():
            return path
        part = self.folder / f"part-{os.getpid()}.{ending}"
        if how == "bytes":
            part.write_bytes(what)
        elif how == "join":
            part.write_bytes(b"".join(self.path(n).read_bytes() for n in what))
        else:
            self.ffmpeg(what, part)
        part.rename(path)
        return path

    def ffmpeg(self, arguments, path):
        arguments = re.sub(r"\{(\w+)\}", lambda m: str(self.path(m[1])), arguments)
        subprocess.run([*FFMPEG, *arguments.split(), str(path)], check=True, stdout=subprocess.DEVNULL)

    def all(self):
        """Everything that holds video, smallest copies of real footage included."""
        paths = [self.path(n) for n, (_, how, _) in self.recipes.items() if how != "bytes" and n not in ("ass", "audio_only")]
        for name, arguments in MORE.items():
            path = self.folder / name
            if not path.exists():
                try:
                    self.ffmpeg(arguments, path)
                except subprocess.CalledProcessError:
                    print(f"left out: this ffmpeg can't make {name}", file=sys.stderr)
                    path.unlink(missing_ok=True)
                    continue
            paths.append(path)
        footage = Path(os.environ.get("FRAMELOOM_MEDIA", ROOT.parent / "shared/media"))
        for source in sorted(footage.glob("*.*")) if footage.is_dir() else []:
            path = self.folder / f"r_{source.name}"
            if source.suffix not in (".mp4", ".mkv", ".mov", ".avi", ".webm", ".ts"):
                continue
            if not path.exists():
                done = subprocess.run([*FFMPEG, "-t", "0.7", "-i", source, "-map", "0:v:0", "-map", "0:a:0?", "-c", "copy", path],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                if done.returncode != 0 or path.stat().st_size == 0:
                    shutil.copy(source, path)
            if path.stat().st_size < 2 << 20:
                paths.append(path)
        return paths


# -------------------------------------------------------------------------------------------------------------- mutations

ODD = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]
BOXES = [b"moov", b"mvhd", b"trak", b"tkhd", b"edts", b"elst", b"mdia", b"mdhd", b"hdlr", b"minf", b"stbl", b"stsd", b"avc1",
         b"avcC", b"hvc1", b"hvcC", b"av01", b"av1C", b"mp4a", b"esds", b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco",
         b"co64", b"moof", b"traf", b"tfhd", b"trun", b"tfdt", b"mdat", b"ftyp", b"udta", b"meta", b"colr", b"pasp", b"fiel",
         b"RIFF", b"LIST", b"hdrl", b"avih", b"strh", b"strf", b"movi", b"idx1", b"00dc", b"01wb", b"JUNK", b"DKIF", b"FLV",
         b"OggS", b"GIF8", b"YUV4", b"FRAME"]
EBML = [bytes.fromhex(h) for h in ("1A45DFA3 18538067 114D9B74 1549A966 1654AE6B 1F43B675 1C53BB6B AE D7 83 86 63A2 E0 B0 BA A3 "
                                   "A0 A1 E7 2AD7B1 4489 9B FB 75A1 23E383 55B0 1043A770 1941A469 1254C367").split()]


def places(data, needles):
    found = []
    for needle in needles:
        at = data.find(needle)
        while at >= 0 and len(found) < 4000:
            found.append((at, needle))
            at = data.find(needle, at + 1)
    return found


def span(rng, data, low=1, high=4096):
    length = min(len(data), int(2 ** rng.uniform(0, max(1, high).bit_length())) + low)
    at = rng.randrange(max(1, len(data) - length + 1))
    return at, at + length


def flips(rng, data, near=None):
    first, end = near or (0, len(data))
    for _ in range(int(2 ** rng.uniform(0, 6))):
        at = rng.randrange(first, max(first + 1, min(end, len(data))))
        data[at] ^= 1 << rng.randrange(8)


def run_of_bytes(rng, data):
    a, b = span(rng, data)
    data[a:b] = rng.choice([bytes(b - a), b"\xff" * (b - a), rng.randbytes(b - a)])


def cut(rng, data):
    keep = rng.choice([rng.random(), rng.random() ** 4, 1 - rng.random() ** 4])
    del data[max(1, int(len(data) * keep)) :]


def beheaded(rng, data):
    del data[: int(len(data) * rng.random() ** 3)]


def duplicated(rng, data):
    a, b = span(rng, data, high=65536)
    at = rng.choice([b, rng.randrange(len(data))])
    data[at:at] = data[a:b] * rng.choice([1, 1, 2, 9])


def moved(rng, data):
    a, b = span(rng, data, high=65536)
    block = data[a:b]
    del data[a:b]
    at = rng.randrange(len(data) + 1)
    data[at:at] = block


def removed(rng, data):
    a, b = span(rng, data, high=65536)
    del data[a:b]


def header(rng, data):
    end = rng.choice([64, 512, 4096])
    tail = rng.random() < 0.3
    flips(rng, data, (max(0, len(data) - end), len(data)) if tail else (0, end))


def number(rng, data):
    """A number of 1 to 8 bytes becomes an odd one, at the head or the tail more often than elsewhere."""
    size, order = rng.choice([1, 2, 4, 4, 8]), rng.choice("<>")
    end = rng.choice([256, 2048, len(data), len(data)])
    at = rng.randrange(max(1, min(end, len(data)) - size))
    if rng.random() < 0.2:
        at = max(0, len(data) - 1 - at)
    value = rng.choice(ODD) if rng.random() < 0.8 else rng.getrandbits(64)
    data[at : at + size] = struct.pack(order + "Q", value)[:size] if order == "<" else struct.pack(">Q", value & (1 << 8 * size) - 1)[-size:]


def size_field(rng, data):
    """The size of a box, a RIFF chunk or an EBML element, or a number in it."""
    boxes, elements = places(data, BOXES), places(data[: 1 << 16], EBML)
    if not boxes and not elements:
        return number(rng, data)
    if elements and (not boxes or rng.random() < 0.5):
        at, needle = rng.choice(elements)
        at += len(needle)
        if at >= len(data):
            return None
        choices = [b"\xff", b"\x80", b"\x01\xff\xff\xff\xff\xff\xff\xff", b"\x08\xff\xff\xff\xff", bytes([data[at] ^ 1 << rng.randrange(8)])]
        new = rng.choice(choices)
        data[at : at + len(new)] = new
        return None
    at, needle = rng.choice(boxes)
    offset = rng.choice([-4, 4, 8, 12, 16, 20, 24, 28, 32]) if rng.random() < 0.7 else -4
    at = max(0, at + offset)
    value = rng.choice(ODD) if rng.random() < 0.7 else (int.from_bytes(data[at : at + 4], "big") + rng.choice([-8, -1, 1, 8, 256])) & 0xFFFFFFFF
    data[at : at + 4] = value.to_bytes(4, rng.choice(["big", "big", "little"]))
    return None


def time_field(rng, data):
    """Times: an MPEG-TS or MPEG-PS time stamp, an entry of stts, ctts or elst, a cluster's time, or any four bytes of a header."""
    stamps = places(data, [b"\x00\x00\x01\xe0", b"\x00\x00\x01\xc0", b"\x00\x00\x01\xba"])
    tables = places(data, [b"stts", b"ctts", b"elst", b"mdhd", b"mvhd", b"tfdt", b"\xe7", b"\x2a\xd7\xb1"])
    found = stamps or tables
    if not found:
        return number(rng, data)
    at, needle = rng.choice(found)
    at += len(needle) + rng.randrange(24)
    for i in range(at, min(len(data), at + rng.choice([1, 2, 4, 5]))):
        data[i] = rng.choice([0, 0xFF, 0x80, 0x7F, rng.randrange(256)])
    return None


MUTATIONS = [flips, flips, run_of_bytes, cut, beheaded, duplicated, moved, removed, header, header, number, number, size_field, size_field, time_field]


def mutate(rng, data, others):
    data = bytearray(data)
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if others and rng.random() < 0.04:
            other = rng.choice(others).read_bytes()
            data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]
            done.append("spliced")
        if data:
            mutation = rng.choice(MUTATIONS)
            mutation(rng, data)
            done.append(mutation.__name__)
    return bytes(data), done


# ------------------------------------------------------------------------------------------------------------------ trials

ENCODERS = {
    "libx264": "--encoder libx264 --preset ultrafast --crf 35",
    "ffv1": "--encoder ffv1",
    "mjpeg": "--encoder mjpeg --qp 9",
}


def options(rng, trial):
    """Input through a pipe or not, and the options; encoders and feeds take turns."""
    encoder = list(ENCODERS)[trial % 3]
    feed = ["split", "shared", "auto"][trial // 3 % 3]
    chosen = [*ENCODERS[encoder].split(), "--gop", "10", "--segment", "0.4", "--workers", "2"]
    piped = rng.random() < 0.12
    if rng.random() < 0.12:
        chosen += ["--isolate"]
        feed = "split"
    chosen += ["--feed", feed]
    ending = "mkv"
    if encoder != "ffv1" and rng.random() < 0.3:
        ending = rng.choice(["mp4", "mov"] + (["ts"] if encoder == "libx264" else []))
    if rng.random() < 0.25:
        chosen += ["--audio", rng.choice(["aac", "none", "libmp3lame" if ending == "mkv" else "aac"])]
    if rng.random() < 0.1:
        chosen += ["--start", rng.choice(["0.1", "0.5", "1"])]
    if rng.random() < 0.1:
        chosen += ["--end", rng.choice(["0.3", "1.1"])]
    if rng.random() < 0.08 and not piped:
        chosen += ["--verify"]
    if rng.random() < 0.08:
        chosen += ["--strict"]
    return piped, ending, chosen


class Outcome:
    def __init__(self, command, code, seconds, rss, stderr, hung):
        self.command, self.code, self.seconds, self.rss, self.stderr, self.hung = command, code, seconds, rss, stderr, hung


def run(command, args, stdin=None, stdout=subprocess.DEVNULL):
    """Runs a command under the limits; whatever it leaves running is ended."""

    def limits():
        resource.setrlimit(resource.RLIMIT_DATA, (args.memory << 20, args.memory << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 30, 2 << 30))

    begun = time.monotonic()
    with tempfile.TemporaryFile() as said:
        source = open(stdin, "rb") if stdin else None
        feeder = subprocess.Popen(["cat"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) if source else None
        child = subprocess.Popen(command, stdin=feeder.stdout if feeder else subprocess.DEVNULL, stdout=stdout, stderr=said,
                                 preexec_fn=limits, start_new_session=True)
        if feeder:
            feeder.stdout.close()
        hung = threading.Event()
        timer = threading.Timer(args.limit, lambda: (hung.set(), end(child.pid)))
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        end(child.pid)
        if feeder:
            feeder.kill()
            feeder.wait()
            source.close()
        said.seek(0)
        stderr = said.read(1 << 20).decode(errors="replace")
    return Outcome(command, child.returncode, time.monotonic() - begun, usage.ru_maxrss >> 10, stderr, hung.is_set())


def end(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def complaints(outcome, codes):
    """What is wrong with how a run ended."""
    if outcome.hung:
        return [f"hang: not done after {outcome.seconds:.0f} s"]
    if outcome.code < 0:
        return [f"crash: {signal.Signals(-outcome.code).name}"]
    found = []
    if outcome.code not in codes:
        found.append(f"exit code {outcome.code}")
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error:")]
    if outcome.code != 0 and len(errors) != 1:
        found.append(f"messages: {len(errors)} errors named")
    if outcome.code == 0 and errors:
        found.append("messages: success with an error")
    if "panicked" in outcome.stderr or "overflow" in outcome.stderr:
        found.append("panic")
    if any(len(line) > 4000 for line in outcome.stderr.splitlines()):
        found.append("messages: a line without end")
    return found


def trial(args, clips, number):
    rng = random.Random(f"{args.seed}:{number}")
    clip = rng.choice(clips)
    same_kind = [c for c in clips if c.suffix == clip.suffix and c != clip]
    data, done = mutate(rng, clip.read_bytes(), same_kind)
    piped, ending, chosen = options(rng, number)
    folder = Path(tempfile.mkdtemp(prefix="trial-", dir=WORK))
    try:
        # A name that is often cut off in messages shows nothing: keep it short.
        source, output = folder / f"in{clip.suffix}", folder / f"out.{ending}"
        source.write_bytes(data)
        found, runs = [], []
        probe = run([args.program, "probe", str(source)], args)
        runs.append(probe)
        found += [f"probe: {c}" for c in complaints(probe, {0, 1})]
        command = [args.program, "transcode", "-" if piped else str(source), "-o", str(output), *chosen]
        outcome = run(command, args, stdin=source if piped else None)
        runs.append(outcome)
        found += complaints(outcome, {0, 1, 2})
        left = sorted(p.name for p in folder.iterdir() if p != source)
        if outcome.code == 0:
            if left != [output.name]:
                found.append(f"left behind after success: {left}")
            else:
                decode = run([*FFMPEG[:-1], "-xerror", "-i", str(output), "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-"], args)
                # Not what ffmpeg says of copied sound, nor of times that the container or its null muxer rounds to one.
                said = [l for l in decode.stderr.splitlines() if re.match(r"\[(h264|ffv1|mjpeg|matroska|mov|mpegts)\b", l)]
                if decode.code != 0 or said:
                    found.append("output doesn't decode")
                    runs.append(decode)
        else:
            allowed = [] if piped else [f"{output.name}.frameloom"]
            if [n for n in left if n not in allowed] and not outcome.hung and outcome.code >= 0:
                found.append(f"left behind after failure: {left}")
        if found or args.keep:
            ARTIFACTS.mkdir(parents=True, exist_ok=True)
            kept = ARTIFACTS / f"mutated-{args.seed}-{number}{clip.suffix}"
            kept.write_bytes(data)
            note = [f"{clip.name}: {' + '.join(done)}", *found, ""]
            for r in runs:
                line = shlex.join(r.command).replace(str(source), str(kept)).replace(str(output), f"/tmp/out.{ending}")
                note += [f"$ {line}{f' < {kept}' if r.command[2:3] == ['-'] else ''}", f"exit {r.code}, {r.seconds:.1f} s, {r.rss} MiB", r.stderr[:20000], ""]
            kept.with_suffix(kept.suffix + ".txt").write_text("\n".join(note))
        return number, clip.name, done, outcome, found, max(r.rss for r in runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="number of trials")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--jobs", type=int, default=2, help="trials at once")
    parser.add_argument("--program", default=str(ROOT / "target/release/frameloom"))
    parser.add_argument("--memory", type=int, default=2048, help="MiB of data that a run may take (RLIMIT_DATA)")
    parser.add_argument("--limit", type=float, default=120, help="seconds that a run may take")
    parser.add_argument("--errors", action="store_true", help="also count what the runs that failed said")
    parser.add_argument("--keep", action="store_true", help="keep what was fed to runs that are as they must be, too")
    parser.add_argument("--only", default="", help="only clips with this in their name")
    args = parser.parse_args()
    if not os.access(args.program, os.X_OK):
        sys.exit(f"{args.program} isn't there: ./dev build")
    WORK.mkdir(parents=True, exist_ok=True)
    clips = [c for c in Clips(WORK / "clips").all() if args.only in c.name]
    print(f"{len(clips)} clips, trials {args.first} to {args.first + args.count - 1} of seed {args.seed}", file=sys.stderr)
    begun = time.monotonic()
    codes, kinds, errors, example = (collections.Counter(), collections.Counter(), collections.Counter(), {})
    slow, large, failed = [], [], 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        numbers = range(args.first, args.first + args.count)
        for done, (n, clip, how, outcome, found, rss) in enumerate(pool.map(lambda n: trial(args, clips, n), numbers), 1):
            codes[outcome.code] += 1
            slow.append((outcome.seconds, n))
            large.append((rss, n))
            if said := re.search(r"^error: (.*)", outcome.stderr, re.M):
                what = re.sub(r"@ 0x\w+", "@", said[1][:240])
                what = re.sub(r"\S*/\S+|[\d.,x]*\d[\d.,x]*\w*", "N", what)
                errors[what] += 1
                example.setdefault(what, n)
            for what in found:
                kinds[re.sub(r"[\d.]+ s\b|\d{2,}", "N", what)] += 1
            if found:
                failed += 1
                print(f"FAILED {n} ({clip}, {' + '.join(how)}): {'; '.join(found)}", flush=True)
            if done % 100 == 0:
                print(f"{done} of {args.count}, {failed} failed, {time.monotonic() - begun:.0f} s", file=sys.stderr)
    print(f"{args.count} files in {time.monotonic() - begun:.0f} s: {failed} failed")
    print("exit codes: " + ", ".join(f"{code}: {count}" for code, count in sorted(codes.items())))
    for what, count in kinds.most_common():
        print(f"  {count:5}  {what}")
    if args.errors:
        for what, count in errors.most_common():
            print(f"  {count:5}  error: {what} (trial {example[what]})")
    print("slowest: " + ", ".join(f"{s:.1f} s (trial {n})" for s, n in sorted(slow, reverse=True)[:3]))
    print("largest: " + ", ".join(f"{m} MiB (trial {n})" for m, n in sorted(large, reverse=True)[:3]))
    if failed:
        print(f"inputs and commands are in {ARTIFACTS.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
