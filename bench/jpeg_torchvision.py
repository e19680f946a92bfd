#!/usr/bin/env python3
"""Images a second of torchvision's GPU decoder and encoder: jpeg_torchvision.py FOLDER [SECONDS].

Batches of 128 of the folder's JPEG files, read before; what crates/cuda/examples/jpeg_bench.rs does with this crate.
"""

import pathlib
import sys
import time

import torch
import torchvision

BATCH = 128


def measure(seconds, work):
    work()
    work()
    torch.cuda.synchronize()
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        done += work()
        torch.cuda.synchronize()
    return done / (time.perf_counter() - begun)


def main():
    folder, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    files = [torchvision.io.read_file(str(p)) for p in sorted(folder.glob("*.jpg"))]
    images = [files[i % len(files)] for i in range(BATCH)]
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {torch.cuda.get_device_name()}")

    def decode():
        return len(torchvision.io.decode_jpeg(images, device="cuda"))

    print(f"torchvision decode_jpeg: {measure(seconds, decode):.0f} images/s")
    pictures = torchvision.io.decode_jpeg(images, device="cuda")

    def encode():
        return len(torchvision.io.encode_jpeg(pictures, quality=90))

    print(f"torchvision encode_jpeg: {measure(seconds, encode):.0f} images/s")


if __name__ == "__main__":
    main()
