#!/usr/bin/env python3
"""Makes the images of this folder, and what FFmpeg makes of them: NAME.jpg and NAME.raw (the planes one after the other, tight rows).

Needs Pillow and the ffmpeg program. Run it here; the results are committed, so that tests need neither.
"""

import math
import subprocess

from PIL import Image


def picture(width, height):
    def pixel(x, y):
        wave = 40 * math.sin(x / 5) * math.cos(y / 7)
        disc = 70 if (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 3) ** 2 else 0
        r = 60 + 120 * x / width + wave / 2
        g = 60 + 120 * y / height + disc
        b = 150 - 80 * x / width + wave
        return tuple(max(0, min(255, int(v))) for v in (r, g, b))

    image = Image.new("RGB", (width, height))
    image.putdata([pixel(x, y) for y in range(height) for x in range(width)])
    return image


def exif():
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010F] = "Frameloom"
    return tags.tobytes()


# A colour profile's header is 128 bytes and the tag count; nobody looks at colours here.
PROFILE = bytes([0, 0, 0, 132]) + b"test" + bytes([4, 48, 0, 0]) + b"mntrRGB XYZ " + bytes(104) + bytes(4)

IMAGES = {
    "gray": ((96, 64), "L", {}, "gray"),
    "420": ((96, 64), "RGB", {"subsampling": 2}, "yuvj420p"),
    "422": ((96, 64), "RGB", {"subsampling": 1}, "yuvj422p"),
    "444": ((96, 64), "RGB", {"subsampling": 0}, "yuvj444p"),
    "odd420": ((67, 45), "RGB", {"subsampling": 2}, "yuvj420p"),
    "odd422": ((35, 31), "RGB", {"subsampling": 1, "optimize": True}, "yuvj422p"),
    "restart": ((96, 64), "RGB", {"subsampling": 2, "restart_marker_blocks": 3}, "yuvj420p"),
    "progressive": ((96, 64), "RGB", {"subsampling": 2, "progressive": True}, "yuvj420p"),
    "described": ((64, 48), "RGB", {"subsampling": 2, "exif": exif(), "icc_profile": PROFILE}, "yuvj420p"),
    "cmyk": ((64, 48), "CMYK", {}, None),
}

for name, (size, mode, options, planes) in IMAGES.items():
    picture(*size).convert(mode).save(f"{name}.jpg", quality=85, **options)
    if planes:
        command = ["ffmpeg", "-v", "error", "-y", "-noautorotate", "-i", f"{name}.jpg", "-pix_fmt", planes]
        subprocess.run([*command, "-f", "rawvideo", f"{name}.raw"], check=True)
