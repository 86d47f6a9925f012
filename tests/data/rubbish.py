"""Damaged, lying and odd pictures by the thousand, the same for one seed. No file here is sound by
design, though many are by chance: what counts is that each is read or refused with a reason."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from pictures import encode, noise, quadrants
from PIL import Image, features

BOMB = 50_000


def sources() -> dict[str, bytes]:
    """Sound pictures of every kind that people have, to be damaged."""
    picture = Image.fromarray(quadrants())
    grey = picture.convert("L")
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64)
    frames = {"save_all": True, "append_images": [picture.rotate(90)], "duration": 50}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "about"
    exif.get_ifd(0x8825)[1] = "N"
    found = {
        "jpeg": encode(picture, "JPEG"),
        "noisy jpeg": noise(1),
        "progressive jpeg": encode(picture, "JPEG", progressive=True),
        "grey jpeg": encode(grey, "JPEG"),
        "cmyk jpeg": encode(picture.convert("CMYK"), "JPEG"),
        "exif jpeg": encode(picture, "JPEG", exif=exif),
        "preview jpeg": encode(picture, "JPEG", exif=b"Exif\0\0" + noise(2)),
        "png": encode(picture, "PNG"),
        "alpha png": encode(picture.convert("RGBA"), "PNG"),
        "palette png": encode(picture.quantize(4), "PNG", transparency=1),
        "one-bit png": encode(grey.convert("1"), "PNG"),
        "16-bit png": encode(Image.fromarray(ramp.astype(np.uint16)), "PNG"),
        "exif png": encode(picture, "PNG", exif=exif),
        "animated png": encode(picture, "PNG", **frames),
        "bmp": encode(picture, "BMP"),
        "palette bmp": encode(grey, "BMP"),
        "gif": encode(picture, "GIF"),
        "animated gif": encode(picture, "GIF", **frames),
        "webp": encode(picture, "WEBP"),
        "lossless webp": encode(picture.convert("RGBA"), "WEBP", lossless=True, exif=exif),
        "animated webp": encode(picture, "WEBP", **frames),
        "tiff": encode(picture, "TIFF"),
        "float tiff": encode(Image.fromarray(ramp.astype(np.float32)), "TIFF"),
        "16-bit tiff": encode(Image.fromarray(ramp.astype(np.uint16)), "TIFF"),
        "deflate tiff": encode(picture, "TIFF", compression="tiff_adobe_deflate"),
        "lzw tiff": encode(picture, "TIFF", compression="tiff_lzw"),
        "jpeg tiff": encode(picture, "TIFF", compression="jpeg"),
        "fax tiff": encode(grey.convert("1"), "TIFF", compression="group4"),
        "cmyk tiff": encode(picture.convert("CMYK"), "TIFF"),
        "pages tiff": encode(picture, "TIFF", save_all=True, append_images=[grey]),
        "ppm": encode(picture, "PPM"),
        "pgm": encode(grey, "PPM"),
        "plain ppm": b"P3\n4 2\n255\n" + b"7 " * 24,
        "plain pbm": b"P1\n8 2\n" + b"0 1 " * 8,
    }
    if features.check("avif"):
        found["avif"] = encode(picture, "AVIF")
    return found


# --- pictures whose very size is the attack, or nearly: (width, height) -> bytes ---


def png(width: int, height: int, colour: int = 2, pixels: bytes = b"\0") -> bytes:
    """A PNG with right checksums."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(body)) + kind + body + zlib.crc32(kind + body).to_bytes(4)
              for kind, body in parts)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _patched(data: bytes, place: int, form: str, width: int, height: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, place, width, height)
    return bytes(changed)


def jpeg(width: int, height: int, **options: object) -> bytes:
    """A JPEG that claims this size (at most 65,535)."""
    data = encode(quadrants(), "JPEG", **options)
    frame = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    return _patched(data, frame + 5, ">HH", height, width)


def bmp(width: int, height: int) -> bytes:
    """A BMP that claims this size."""
    return _patched(encode(quadrants(), "BMP"), 18, "<ii", width, height)


def gif(width: int, height: int) -> bytes:
    """A GIF whose screen claims this size."""
    return _patched(encode(quadrants(), "GIF"), 6, "<HH", width, height)


def tiff(width: int, height: int) -> bytes:
    """A little-endian TIFF, one tag each for width and height."""
    data = bytearray(encode(quadrants(), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag in (256, 257):
            struct.pack_into("<HHII", data, entry, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


def ppm(width: int, height: int) -> bytes:
    """A PPM that claims this size."""
    return f"P6\n{width} {height}\n255\n".encode() + b"\0" * 64


def webp(width: int, height: int) -> bytes:
    """An extended WebP whose canvas claims this size."""
    data = bytearray(
        encode(Image.fromarray(quadrants()).convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0")
    )
    place = data.index(b"VP8X") + 12
    data[place : place + 6] = (max(width, 1) - 1).to_bytes(3, "little") + (
        max(height, 1) - 1
    ).to_bytes(3, "little")
    return bytes(data)


BY_SIZE: dict[str, Callable[[int, int], bytes]] = {
    f.__name__: f for f in (png, jpeg, bmp, gif, tiff, ppm, webp)
}


def many_scans(scans: int, side: int = 13_000) -> bytes:
    """A progressive JPEG that has its decoder go over a large picture again and again."""
    data = jpeg(side, side, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def odd() -> dict[str, bytes]:
    """Sizes that lie, sizes of nothing, and sound pictures of odd shapes."""
    found = {}
    for kind, make in BY_SIZE.items():
        for width, height in ((BOMB, BOMB), (0, 7), (7, 0), (1, BOMB), (13_000, 13_000)):
            found[f"{kind} {width}x{height}"] = make(width, height)
    for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"):
        found[f"sound {kind} 1x1"] = encode(quadrants(2, 2)[:1, :1], kind)
        side = 16_000 if kind == "WEBP" else 20_000  # WebP ends at 16,383
        found[f"sound {kind} {side}x3"] = encode(np.zeros((3, side, 3), np.uint8), kind)
    found["many scans"] = many_scans(40_000)
    found["png without pixels"] = png(300, 200)
    found["png of a bad filter"] = png(2, 1, pixels=b"\7" + b"\0" * 6)
    found["png of too few rows"] = png(2, 3, pixels=b"\0" * 7)
    ok, exr = cv2.imencode(".hdr", np.ones((4, 4, 3), np.float32))
    found["radiance"] = exr.tobytes() if ok else b""
    found |= {"empty": b"", "text": b"a text", "zeros": bytes(4096), "zip": b"PK\3\4" + bytes(60)}
    found["postscript"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"
    found["svg"] = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    return found


# --- damage ---


def damaged(data: bytes, other: bytes, dice: random.Random) -> tuple[str, bytes]:
    """One damage, by its name: bits, bytes, an end, a header, a hole, a length."""
    changed = bytearray(data)
    place = dice.randrange(len(data))
    match dice.choice(("bits", "header bits", "bytes", "cut", "splice", "hole", "twice", "number",
                       "wrong header", "tail", "checksum")):  # fmt: skip
        case "bits":
            for _ in range(dice.randrange(1, 30)):
                changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            return "bits", bytes(changed)
        case "header bits":
            for _ in range(dice.randrange(1, 6)):
                changed[dice.randrange(min(len(data), 200))] ^= 1 << dice.randrange(8)
            return "header", bytes(changed)
        case "bytes":
            for _ in range(dice.randrange(1, 12)):
                changed[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
            return "bytes", bytes(changed)
        case "cut":
            return "cut", data[:place]
        case "splice":
            return "splice", data[:place] + other[dice.randrange(len(other)) :]
        case "hole":
            end = min(len(data), place + dice.randrange(1, 400))
            changed[place:end] = bytes(end - place)
            return "hole", bytes(changed)
        case "twice":
            end = place + dice.randrange(1, 400)
            return "twice", data[:end] + data[place:end] * dice.randrange(1, 5) + data[end:]
        case "number":  # sizes, offsets and lengths are numbers of two or four bytes
            value = dice.choice((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000))
            form = dice.choice(("<I", ">I", "<H", ">H"))
            at = dice.randrange(min(len(data), 300))
            if at + struct.calcsize(form) <= len(data):
                limit = 0xFFFF if form[1] == "H" else 0xFFFFFFFF
                struct.pack_into(form, changed, at, value & limit)
            return "number", bytes(changed)
        case "wrong header":
            return "wrong header", other[: dice.choice((4, 8, 16, 40))] + data[16:]
        case "tail":
            return "tail", data + dice.randbytes(dice.randrange(1, 300))
    return "checksum", _with_right_checksums(bytes(changed), dice)


def _with_right_checksums(data: bytes, dice: random.Random) -> bytes:
    """A PNG damaged inside a chunk whose checksum was made to fit; others get a bit flipped."""
    changed = bytearray(data)
    if not data.startswith(b"\x89PNG"):
        changed[dice.randrange(len(data))] ^= 0x10
        return bytes(changed)
    starts, place = [], 8
    while place + 12 <= len(data):
        starts.append(place)
        place += 12 + int.from_bytes(data[place : place + 4])
    start = dice.choice(starts)
    length = int.from_bytes(data[start : start + 4])
    if length:
        changed[start + 8 + dice.randrange(length)] ^= 1 << dice.randrange(8)
    end = start + 8 + length
    changed[end : end + 4] = zlib.crc32(changed[start + 4 : end]).to_bytes(4)
    return bytes(changed)


def corpus(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """The odd ones, then damaged ones, `count` in all: a name that says what it is, and bytes."""
    dice = random.Random(seed)
    whole = sources()
    first = odd()
    yield from first.items()
    for _ in range(count - len(first)):
        kind, other = dice.choice(list(whole)), dice.choice(list(whole))
        how, data = damaged(whole[kind], whole[other], dice)
        yield f"{kind}, {how}", data
