"""Read any picture as a person sees it: upright, 8-bit RGB, transparency on white.

The content decides the format, never the file's name. Ordinary JPEGs are decoded by OpenCV (fast,
and at reduced size when that suffices), everything else by Pillow. Any function here may be called
from many threads.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlkit.errors import DataError

MAX_PIXELS = 178_956_970
"""Pillow's own limit against decompression bombs; a larger picture is refused undecoded."""
MAX_BYTES = 1 << 30
"""A larger file is refused unread: no picture within the pixel limit needs a gigabyte."""
LARGE_PIXELS = 1 << 25
"""Pictures with more are decoded one at a time, so that threads cannot add up gigabytes."""
MAX_PIXELS_PER_BYTE = 10_000
"""A large picture of fewer bytes than this asks for is a bomb: a blank PNG has 8,256 at most."""
MAX_SCANNED = 50 * MAX_PIXELS
"""Scans times pixels of a JPEG: a few bytes ask a decoder to go over the whole picture again. Real
pictures have one scan, or about ten when progressive."""

_ONE_AT_A_TIME = threading.Lock()
_PILLOW = re.compile(r"PIL\.")
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REDUCED_RGB = {
    1: cv2.IMREAD_COLOR_RGB,
    # IMREAD_REDUCED_COLOR_n holds the bit for BGR; the grey names leave room for the one for RGB.
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}


class ImageInfo(NamedTuple):
    """What a picture is: upright width and height in pixels, and the format of its bytes."""

    width: int
    height: int
    format: str


class _Jpeg(NamedTuple):
    """The frame header of a JPEG, before the EXIF orientation, and where it stands."""

    width: int
    height: int
    components: int
    precision: int
    has_exif: bool
    offset: int

    @property
    def is_ordinary(self) -> bool:
        """Grey or RGB of 8 bits, as OpenCV decodes it; CMYK is Pillow's."""
        return self.components in (1, 3) and self.precision == 8


def read_image(source: Path | str | bytes, at_least: int | None = None) -> NDArray[np.uint8]:
    """The picture as a person sees it.

    Args:
        source: a file, or the bytes of one.
        at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 as long as its short side keeps this
            many pixels.

    Returns:
        uint8, (height, width, 3), RGB.

    Raises:
        DataError: the file cannot be read, is no picture or a damaged one; the message is the
            reason (as in `check_image`), after the path where `source` is one.
    """
    if not isinstance(source, bytes):
        try:
            check_file(Path(source))
            return read_image(Path(source).read_bytes(), at_least)
        except OSError as error:
            raise DataError(f"{source}: {(error.strerror or str(error)).lower()}") from None
        except DataError as error:
            raise DataError(f"{source}: {error}") from None
    jpeg = _jpeg_header(source)
    if jpeg is not None and jpeg.is_ordinary:
        _check_size(jpeg.width, jpeg.height, len(source))
        pixels = _decode_jpeg(source, jpeg, _REDUCED_RGB[_reduction(jpeg, at_least)])
        if pixels is not None:
            return pixels
    return _decode(source)


def check_file(path: Path) -> None:
    """Refuse what is better not opened: a pipe waits for ever, a device never ends.

    Raises:
        DataError: the reason, in a few words.
        OSError: there is nothing, or it may not be seen.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise DataError("a pipe or a device, no regular file")
    if status.st_size > MAX_BYTES:
        raise DataError(f"too large: {status.st_size:,} bytes; the limit is {MAX_BYTES:,}")


def check_image(data: bytes) -> ImageInfo:
    """What `data` holds, proven to decode, for the price of the cheapest decode.

    A JPEG that has its end is proven at an eighth of its size, since a damaged one can have a sound
    beginning and end and still stop every decoder in the middle of a run. Anything else is proven
    by a full decode: the checksums of a PNG hold in a file that was made to deceive, too.

    Raises:
        DataError: with a short reason ("empty file", "not an image", "truncated JPEG",
            "damaged PNG", "zero size", "too large: ...").
    """
    jpeg = _jpeg_header(data)
    if jpeg is not None and jpeg.is_ordinary:
        _check_size(jpeg.width, jpeg.height, len(data))
        # An end-of-image marker behind the frame header is not the one of an embedded preview.
        whole = data.rfind(b"\xff\xd9", jpeg.offset) >= 0
        small = _decode_jpeg(data, jpeg, cv2.IMREAD_REDUCED_GRAYSCALE_8) if whole else None
        if small is not None:
            return ImageInfo(*_upright_size(data, jpeg, small), "JPEG")
    height, width = _decode(data).shape[:2]
    return ImageInfo(width, height, str(_claims(data[:32])))


def looks_like_image(head: bytes) -> bool:
    """Whether a file that begins with `head` (32 bytes or more) claims to be a picture."""
    return _claims(head) is not None


def thumbnail(path: Path | str, side: int, quality: int = 80) -> bytes:
    """A small JPEG of the picture, upright, its long side at most `side` pixels.

    Raises:
        DataError: as `read_image`.
    """
    image = read_image(path, at_least=side)
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Optimal Huffman tables: a third off a tiny picture, at a tenth of a millisecond.
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), options)
    return encoded.tobytes()


def _claims(head: bytes) -> str | None:
    """The format that the first bytes claim, or None."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    # "BM" alone begins many a text; the size of the second header narrows it.
    if head[:2] == b"BM" and head[14:18] in {
        struct.pack("<I", n) for n in (12, 40, 52, 56, 64, 108, 124)
    }:
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[4:8] == b"ftyp":
        brand, compatible = head[8:12], head[16:]
        if brand in (b"avif", b"avis") or (brand in (b"mif1", b"msf1") and b"avif" in compatible):
            return "AVIF"
        if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
            return "HEIC"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n" and len(head) > 2:
        return "PPM"
    return None


def _jpeg_header(data: bytes) -> _Jpeg | None:
    """Walk a JPEG's markers to its frame header (ITU T.81, B.2.2); None when there is none."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    position, has_exif = 2, False
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # fill byte, or no payload
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if position + 10 > len(data):
                return None
            precision, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            return _Jpeg(width, height, components, precision, has_exif, position)
        if marker == 0xE1 and data[position + 4 : position + 8] == b"Exif":
            has_exif = True
        position += 2 + length
    return None


def _decode_jpeg(data: bytes, jpeg: _Jpeg, flags: int) -> NDArray[np.uint8] | None:
    """OpenCV's decode, EXIF orientation applied; None when it cannot."""
    _check_scans(data, jpeg.offset, jpeg.width * jpeg.height)
    try:
        with _room_for(jpeg.width * jpeg.height):
            return cv2.imdecode(np.frombuffer(data, np.uint8), flags)  # type: ignore[return-value]
    except cv2.error:
        return None


def _reduction(jpeg: _Jpeg, at_least: int | None) -> int:
    short = min(jpeg.width, jpeg.height)
    if at_least is None:
        return 1
    return next((n for n in (8, 4, 2) if -(-short // n) >= at_least), 1)


def _upright_size(data: bytes, jpeg: _Jpeg, eighth: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height after the EXIF orientation, which a decode at an eighth mostly shows."""
    height, width = -(-jpeg.height // 8), -(-jpeg.width // 8)
    turned = eighth.shape[:2] != (height, width)
    if height == width and jpeg.height != jpeg.width and jpeg.has_exif:
        # Of broken EXIF, Pillow may read what OpenCV does not: only the decode itself tells.
        whole = _decode_jpeg(data, jpeg, cv2.IMREAD_GRAYSCALE)
        turned = whole is not None and whole.shape[:2] != (jpeg.height, jpeg.width)
    return (jpeg.height, jpeg.width) if turned else (jpeg.width, jpeg.height)


def _check_size(width: int, height: int, size: int) -> None:
    """Refuse what claims to be too large, or too large for a file of `size` bytes."""
    if width < 1 or height < 1:
        raise DataError("zero size")
    if width * height > MAX_PIXELS:
        raise DataError(
            f"too large: {width} x {height} pixels; the limit is {MAX_PIXELS:,} pixels in all"
        )
    if width * height > max(LARGE_PIXELS, size * MAX_PIXELS_PER_BYTE):
        raise DataError(f"too large: {width} x {height} pixels out of {size:,} bytes")


def _check_scans(data: bytes, start: int, pixels: int) -> None:
    scans = data.count(b"\xff\xda", start)
    if scans * pixels > MAX_SCANNED:
        raise DataError(f"too many scans: {scans:,} over {pixels:,} pixels")


@contextmanager
def _room_for(pixels: int) -> Iterator[None]:
    """Inside, no other thread decodes a large picture if this one is large."""
    if pixels <= LARGE_PIXELS:
        yield
        return
    with _ONE_AT_A_TIME:
        yield


def _open(data: bytes) -> Image.Image:
    """Pillow's image, not decoded, its size checked; failures are DataErrors."""
    kind = _claims(data[:32])
    if kind is None:
        raise DataError("not an image" if data else "empty file")
    if kind == "PNG" and len(data) >= 24:  # Pillow's refusals would not name the size
        width, height = struct.unpack_from(">II", data, 16)
        _check_size(width, height, len(data))
    _silence_pillow()
    with _as_data_error(kind):
        # Only the claimed format's decoder is tried: some of Pillow's others start programs (EPS).
        image = Image.open(io.BytesIO(data), formats=[kind])
    _check_size(*image.size, len(data))
    if kind == "JPEG":
        _check_scans(data, 0, image.width * image.height)
    return image


def _decode(data: bytes) -> NDArray[np.uint8]:
    """8-bit RGB of any picture by Pillow; failures are DataErrors."""
    image = _open(data)
    with _room_for(image.width * image.height), _as_data_error(str(_claims(data[:32]))):
        image.load()
        return _to_rgb(image)


@contextmanager
def _as_data_error(kind: str) -> Iterator[None]:
    """Inside, whatever a decoder stumbles over is a DataError: on a damaged file, anything."""
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"too large: the limit is {MAX_PIXELS:,} pixels in all") from None
    except MemoryError:
        raise DataError("too large: not enough memory to decode it") from None
    except Exception as error:
        if kind not in Image.OPEN:
            raise DataError(f"{kind} cannot be read here; convert it to JPEG or PNG") from None
        state = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise DataError(f"{state} {kind}") from None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; broken EXIF counts as upright."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF is metadata: whatever is wrong with it must not cost the picture
        return 1
    return value if value in _TRANSPOSE else 1


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """8-bit RGB of a decoded Pillow image of any mode."""
    orientation = _orientation(image)
    if orientation != 1:
        image = image.transpose(_TRANSPOSE[orientation])
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _eight_bit(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    try:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.new("RGB", rgba.size, "white")
            image.paste(rgba, mask=rgba.getchannel("A"))
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except ValueError:
        raise DataError(f"{image.mode} colour cannot be shown as RGB") from None


def _eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey values of 16 or 32 bits, or floats, as 0-255.

    16-bit integers span 0-65535. Wider types say nothing about their range, so the values do: up to
    1 (floats only), up to 255, up to 65535, or else from the smallest to the largest.
    """
    if values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    low, high = float(finite.min()), float(finite.max())
    steps = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    top = next((step for step in steps if low >= 0 and high <= step), None)
    if top is None:
        finite, top = finite - low, (high - low) or 1.0
    return np.rint(finite / top * 255).astype(np.uint8)


def _silence_pillow() -> None:
    """Keep Pillow's warnings about odd files off the terminal.

    The list of filters belongs to the whole process, so `catch_warnings` would race between
    threads; adding this one filter for Pillow's modules where it is absent does not.
    """
    if not any(entry[0] == "ignore" and entry[3] == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)
