import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import encode, noise, quadrants
from PIL import Image, ImageOps, features

from tlkit.data.images import (
    MAX_PIXELS,
    check_image,
    looks_like_image,
    read_image,
    thumbnail,
)
from tlkit.errors import DataError

LOSSY = {"JPEG": 12, "WEBP": 12, "AVIF": 12, "GIF": 3}
KINDS = ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF", "PPM"]


def far(a: np.ndarray, b: np.ndarray) -> float:
    """The mean difference; lossy formats blur the edges between the quadrants only."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_content_not_name_decides_the_format(kind: str, tmp_path: Path) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF decoder")
    file = tmp_path / "picture.txt"
    file.write_bytes(encode(quadrants(), kind))
    image = read_image(file)
    assert image.dtype == np.uint8
    assert far(image, quadrants()) < LOSSY.get(kind, 0.5)
    assert check_image(file.read_bytes()) == (64, 48, kind)
    assert looks_like_image(file.read_bytes()[:32])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    frames = [Image.fromarray(quadrants()), Image.new("RGB", (64, 48), "black")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert far(read_image(data), quadrants()) < 12


def grey() -> np.ndarray:
    return np.asarray(Image.fromarray(quadrants()).convert("L"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    image = read_image(encode(Image.fromarray(grey()), kind))
    assert far(image, np.repeat(grey()[:, :, None], 3, axis=2)) < LOSSY.get(kind, 0.5)


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(grey() > 100)
    assert bits.mode == "1"
    image = read_image(encode(bits, "PNG"))
    np.testing.assert_array_equal(image[:, :, 0], np.where(grey() > 100, 255, 0))


def test_palette_with_a_transparent_entry_shows_white() -> None:
    image = Image.fromarray(quadrants()).quantize(4)
    transparent = image.getpixel((0, 0))
    for kind in ("PNG", "GIF"):
        seen = read_image(encode(image, kind, transparency=transparent))
        assert tuple(seen[0, 0]) == (255, 255, 255)
        assert far(seen[24:], quadrants()[24:]) < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_laid_on_white(mode: str, kind: str) -> None:
    image = Image.fromarray(quadrants()).convert(mode)
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 128
    image.putalpha(Image.fromarray(alpha))
    if (mode, kind) == ("LA", "WEBP"):
        image = image.convert("RGBA")
    options = {"lossless": True} if kind == "WEBP" else {}
    seen = read_image(encode(image, kind, **options)).astype(int)
    assert (seen[:, :32] == 255).all()
    opaque = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(seen[:, 32:] - (opaque[:, 32:] + 255) / 2).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    image = Image.fromarray(quadrants()).convert("CMYK")
    assert far(read_image(encode(image, kind)), quadrants()) < 12


def test_adobe_ycck_jpeg_is_not_a_negative() -> None:
    data = encode(Image.fromarray(quadrants()).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data  # Pillow writes Adobe's marker and inverted inks, as Photoshop does
    assert far(read_image(data), quadrants()) < 8


RAMP = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    image = read_image(encode(Image.fromarray(RAMP), kind))
    np.testing.assert_allclose(image[:, :, 1], RAMP / 257, atol=0.51)
    colour = np.stack([RAMP, RAMP[::-1], RAMP], axis=2)
    ok, data = cv2.imencode(f".{kind.lower()}", colour[:, :, ::-1])
    assert ok
    np.testing.assert_allclose(read_image(data.tobytes()), colour / 257, atol=1.01)


def test_big_endian_sixteen_bit_tiff() -> None:
    image = Image.frombytes("I;16B", (64, 48), RAMP.astype(">u2").tobytes())
    np.testing.assert_allclose(read_image(encode(image, "TIFF"))[:, :, 0], RAMP / 257, atol=0.51)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_float_tiff_by_the_range_it_uses(top: float) -> None:
    values = (RAMP / 65535.0 * top).astype(np.float32)
    values[0, 1] = np.nan
    image = read_image(encode(Image.fromarray(values), "TIFF"))
    assert image[0, 1, 0] == 0
    values[0, 1] = 0
    np.testing.assert_allclose(image[:, :, 2], values / top * 255, atol=0.51)


def test_float_tiff_of_wild_values() -> None:
    odd = np.array([0x7FA00000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 1, 0xFF7FFFFF], np.uint32)
    image = read_image(encode(Image.fromarray(odd.view(np.float32).reshape(2, 3)), "TIFF"))
    assert image[:, :, 0].tolist() == [[128, 128, 128], [255, 128, 0]]


def test_float_tiff_of_any_other_range_spans_its_values() -> None:
    values = np.linspace(-20, 400, 64 * 48, dtype=np.float32).reshape(48, 64)
    image = read_image(encode(Image.fromarray(values), "TIFF"))
    assert image[0, 0, 0] == 0
    assert image[-1, -1, 0] == 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} | ({"lossless": True} if kind == "WEBP" else {})
    data = encode(quadrants(), kind, **options)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert upright.shape == ((64, 48, 3) if orientation >= 5 else (48, 64, 3))
    assert far(read_image(data), upright) < 2
    assert check_image(data)[:2] == upright.shape[1::-1]


def test_a_nearly_square_picture_is_turned_as_well() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(quadrants(62, 60), "JPEG", exif=exif)
    assert check_image(data) == (60, 62, "JPEG")
    assert read_image(data).shape == (62, 60, 3)


def test_broken_exif_does_not_cost_the_picture() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encode(quadrants(), kind, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 40)
        assert far(read_image(data), quadrants()) < 12
        assert check_image(data)[:2] == (64, 48)


@pytest.mark.parametrize(
    ("at_least", "side"), [(None, 400), (201, 400), (200, 200), (99, 100), (20, 50)]
)
def test_reduced_decode_keeps_what_is_needed(at_least: int | None, side: int) -> None:
    picture = quadrants(640, 400)
    image = read_image(encode(picture, "JPEG", quality=95), at_least)
    assert image.shape == (side, side * 640 // 400, 3)
    assert far(image, cv2.resize(picture, image.shape[1::-1], interpolation=cv2.INTER_AREA)) < 3


def test_reduced_decode_of_an_odd_size_rounds_up() -> None:
    assert read_image(encode(quadrants(101, 77), "JPEG"), 39).shape == (39, 51, 3)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND\xaeB`\x82"
    data = b"IDAT" + zlib.compress(b"\0")
    chunks = [
        struct.pack(">I", len(part) - 4) + part + zlib.crc32(part).to_bytes(4)
        for part in (body, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + end


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(encode(quadrants(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_of_size(width: int, height: int) -> bytes:
    data = bytearray(encode(quadrants(), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize("make", [png_header, jpeg_of_size, bmp_of_size])
def test_a_bomb_is_refused_before_it_is_decoded(make) -> None:
    data = make(50_000, 50_000)
    for function in (check_image, read_image):
        with pytest.raises(DataError, match=f"too large: .*{MAX_PIXELS:,}"):
            function(data)


def test_reasons() -> None:
    jpeg, png = noise(1), encode(quadrants(), "PNG")
    cases = {
        b"": "empty file",
        b"just some text, though the file is called cat.jpg": "not an image",
        b"BM is how this text begins, and it goes on for a while": "not an image",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>": "not an image",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "HEIC cannot be read here; convert it",
        jpeg[:-200]: "truncated JPEG",
        jpeg[:3]: "JPEG",
        png[:-40]: "PNG",
        png[:20]: "PNG",
        png_header(0, 7): "zero size",
        jpeg_of_size(0, 7): "zero size",
        encode(quadrants(), "BMP")[:500]: "truncated BMP",
        encode(quadrants(), "WEBP")[:60]: "WEBP",
    }
    for data, reason in cases.items():
        for function in (check_image, read_image):
            with pytest.raises(DataError) as caught:
                function(data)
            assert reason in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_jpeg_with_a_tail_is_sound() -> None:
    data = noise(2, side=64)
    for variant in (data + b"\0" * 100, data + b"a phone's own notes"):
        assert check_image(variant) == (64, 64, "JPEG")
        assert far(read_image(variant), read_image(data)) < 1


def test_a_jpeg_with_an_embedded_preview_is_still_found_truncated() -> None:
    preview = noise(3)
    data = encode(quadrants(200, 200), "JPEG", exif=b"Exif\0\0" + preview)
    assert preview in data
    with pytest.raises(DataError, match="truncated JPEG"):
        check_image(data[: len(data) * 3 // 4])


def test_a_file_with_sound_ends_and_a_broken_middle_is_found() -> None:
    data = bytearray(noise(4, side=64))
    table = data.index(b"\xff\xc4")  # more Huffman codes of one bit than there can be
    data[table + 5] = 9
    with pytest.raises(DataError, match="damaged JPEG"):
        check_image(bytes(data))
    png = bytearray(encode(quadrants(), "PNG"))
    png[png.index(b"IDAT") + 8] ^= 0x55
    with pytest.raises(DataError, match="damaged PNG"):
        check_image(bytes(png))


def test_paths_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"text")
    with pytest.raises(DataError, match=r"a\.jpg: not an image"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"b\.jpg: no such file"):
        read_image(str(tmp_path / "b.jpg"))


def test_what_passes_the_check_can_be_read() -> None:
    """400 damaged files: each is refused with one line or read, never anything else."""
    rng = np.random.default_rng(0)
    sources = [encode(quadrants(), kind) for kind in KINDS if kind != "AVIF"]
    sources += [encode(quadrants(), "JPEG", progressive=True), noise(5, side=64)]
    sources += [encode(Image.fromarray(RAMP), "PNG"), encode(quadrants(), "PNG", exif=Image.Exif())]
    refused = 0
    for number in range(400):
        data = bytearray(sources[number % len(sources)])
        for _ in range(rng.integers(1, 8)):
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        if number % 4 == 0:
            del data[rng.integers(len(data)) :]
        try:
            info = check_image(bytes(data))
        except DataError:
            refused += 1
            continue
        assert read_image(bytes(data)).shape == (info.height, info.width, 3)
    assert 100 < refused < 350


@pytest.mark.parametrize("size", [(300, 200), (30, 400), (20, 10)])
def test_thumbnail(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(quadrants(*size), "PNG"))
    data = thumbnail(tmp_path / "a.png", side=96)
    assert check_image(data).format == "JPEG"
    small = read_image(data)
    assert max(small.shape) == min(96, max(size))
    assert small[0, 0, 0] > 180 > 80 > small[0, 0, 2]  # red stays red


def test_thumbnail_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encode(quadrants(640, 480), "JPEG", exif=exif))
    small = read_image(thumbnail(tmp_path / "a.jpg", side=64))
    assert small.shape == (64, 48, 3)
    assert small[0, 0, 2] > 150 > 90 > small[0, 0, 0]  # blue was at the bottom left
