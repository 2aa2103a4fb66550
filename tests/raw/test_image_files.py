"""Real image files of every kind, whole, damaged and foreign, to pixels or to one message."""

import random
import struct
import warnings
import zlib
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from pipeline.raw.image_files import UnreadableImagesError, read_images

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n0 0 8 8 rectfill\nshowpage\n"
)
ORIENTATION = 0x0112


def exif_of(**tags):
    exif = Image.Exif()
    for tag, value in {"orientation": 1, **tags}.items():
        number = {"orientation": ORIENTATION, "resolution": 0x011A, "maker": 0x010F}[tag]
        exif[number] = value
    return exif


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (EPS, "it is PostScript or PDF"),
        (b"\xc5\xd0\xd3\xc6" + bytes(28) + EPS, "it is PostScript or PDF"),
        (b"\x00\x00\x00\x1cftypavif" + bytes(60), "it is AVIF, HEIC or a film; convert it"),
        (b"version https://git-lfs.github.com/spec/v1\noid", r"Git LFS pointer; `git lfs pull`"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"", "the file is empty"),
        (b"hello", "it is none of PNG, JPEG, BMP, GIF, PPM, TIFF, WEBP, or damaged"),
        (b"8BPS\x00\x01" + bytes(40), "it is none of PNG"),
    ],
)
def test_foreign_content_under_the_name_of_an_image(content, reason, tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(content)
    monkeypatch.setenv("PATH", "")  # nothing can be started, Ghostscript least of all
    with pytest.raises(
        UnreadableImagesError, match=rf"x\.png cannot be read as an image: .*{reason}"
    ):
        read_images([tmp_path / "x.png"], 8)


def test_no_decoder_but_the_promised_ones_sees_a_file(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    opened = []
    monkeypatch.setattr(EpsImagePlugin.EpsImageFile, "_open", lambda self: opened.append(self))
    (tmp_path / "x.png").write_bytes(EPS)
    with pytest.raises(UnreadableImagesError):
        read_images([tmp_path / "x.png"], 8)
    assert not opened


def test_all_unreadable_files_are_listed_and_the_others_passed_over(tmp_path):
    PICTURE.save(tmp_path / "good.png")
    (tmp_path / "text.png").write_bytes(b"hello")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:100])
    (tmp_path / "gone.png").symlink_to("nowhere")
    ticks = []
    paths = [tmp_path / name for name in ("cut.png", "good.png", "text.png", "gone.png")]
    with pytest.raises(UnreadableImagesError) as caught:
        read_images(paths, 8, lambda: ticks.append(1))
    lines = str(caught.value).splitlines()
    assert [Path(line.split(" cannot")[0]).name for line in lines[:3]] == [
        "cut.png",
        "text.png",
        "gone.png",
    ]
    assert lines[2].endswith("No such file or directory")
    assert lines[3] == "3 of 4 image files cannot be read: mend or remove them"
    assert len(ticks) == 4


def samples(folder: Path) -> list[Path]:
    grey, small = PICTURE.convert("L"), PICTURE.resize((4, 4))
    kept = {"save_all": True, "append_images": [small.resize((8, 8))]}
    files = {
        "a.jpg": (PICTURE, {"exif": exif_of(orientation=6, maker="x")}),
        "progressive.jpg": (PICTURE, {"progressive": True, "dpi": (72, 72)}),
        "cmyk.jpg": (PICTURE.convert("CMYK"), {}),
        "phone.jpg": (PICTURE, {"format": "MPO", **kept}),
        "a.png": (PICTURE, {"exif": exif_of(orientation=3)}),
        "palette.png": (PICTURE.quantize(8), {}),
        "grey_alpha.png": (PICTURE.convert("LA"), {}),
        "moving.png": (PICTURE, kept),
        "moving.gif": (PICTURE, kept),
        "a.bmp": (PICTURE, {}),
        "a.pgm": (grey, {}),
        "fax.tif": (PICTURE.convert("1"), {"compression": "group4"}),
        "lzw.tif": (PICTURE, {"compression": "tiff_lzw", "tiffinfo": {ORIENTATION: 8}}),
        "jpeg.tif": (PICTURE, {"compression": "jpeg"}),
        "a.webp": (PICTURE, {"exif": exif_of(orientation=6)}),
        "moving.webp": (PICTURE, kept),
    }
    for name, (picture, options) in files.items():
        picture.save(folder / name, **options)
    return [folder / name for name in files]


def damaged(content: bytes, generator: random.Random) -> bytes:
    if generator.random() < 0.2:
        return content[: generator.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(generator.choice((1, 2, 8))):
        changed[generator.randrange(min(len(changed), 400))] = generator.choice((0, 255, 77))
    return bytes(changed)


def test_damage_ends_in_the_one_message_and_nothing_else_is_said(tmp_path, capfd, caplog):
    """No type of error, warning, log line or word of a C library passes."""
    generator = random.Random(0)
    files = samples(tmp_path)
    assert read_images(files, 8).shape == (len(files), 8, 8, 3)
    refused = 0
    for number in range(400):
        source = files[number % len(files)]
        path = tmp_path / f"damaged{source.suffix}"
        path.write_bytes(damaged(source.read_bytes(), generator))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read_images([path], 8)
        except UnreadableImagesError as error:
            refused += len(str(error).splitlines()) == 2
    assert 100 < refused < 400
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "lzw.tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 2, 5])
def test_images_are_turned_upright(suffix, orientation, tmp_path):
    options = {"exif": exif_of(orientation=orientation)}
    if suffix.endswith("tif"):
        compression = "tiff_lzw" if suffix == "lzw.tif" else None
        options = {"tiffinfo": {ORIENTATION: orientation}, "compression": compression}
    path = tmp_path / f"x.{suffix}"
    PICTURE.save(path, **options, **({"lossless": True} if suffix == "webp" else {}))
    (image,) = read_images([path], 8)
    PICTURE.save(tmp_path / "plain.jpg")
    (stored,) = read_images([tmp_path / "plain.jpg"], 8) if suffix == "jpg" else [PIXELS]
    transposed = stored.transpose(1, 0, 2)
    upright = {
        2: stored[:, ::-1],
        3: np.rot90(stored, 2),
        5: transposed,
        6: np.rot90(stored, -1),
        8: np.rot90(stored, 1),
    }
    np.testing.assert_array_equal(image, upright.get(orientation, stored))


def test_a_phone_picture_without_a_resolution(tmp_path):
    """0/0 in EXIF: rewriting it, as turning by ImageOps does, divides by zero in some versions."""
    exif = exif_of(orientation=6, resolution=TiffImagePlugin.IFDRational(72, 1))
    PICTURE.save(tmp_path / "x.jpg", exif=exif)
    content = (tmp_path / "x.jpg").read_bytes()
    ratio = next(
        packed for order in "<>" if (packed := struct.pack(f"{order}II", 72, 1)) in content
    )
    (expected,) = read_images([tmp_path / "x.jpg"], 8)
    (tmp_path / "x.jpg").write_bytes(content.replace(ratio, bytes(8)))
    np.testing.assert_array_equal(read_images([tmp_path / "x.jpg"], 8)[0], expected)


def test_damaged_exif_leaves_a_picture_as_it_lies(tmp_path):
    PICTURE.save(tmp_path / "x.jpg", exif=exif_of(orientation=6))
    content = (tmp_path / "x.jpg").read_bytes()
    PICTURE.save(tmp_path / "plain.jpg")
    start = content.index(b"Exif\x00\x00") + 6
    for damage in (b"XX*\x00", b"\xff" * 8, content[start : start + 4] + b"\xff\xff\xff\x7f"):
        hurt = content[:start] + damage + content[start + len(damage) :]
        (tmp_path / "x.jpg").write_bytes(hurt)
        image, plain = read_images([tmp_path / "x.jpg", tmp_path / "plain.jpg"], 8)
        np.testing.assert_array_equal(image, plain)


def test_every_mode_becomes_rgb(tmp_path):
    grey = np.full((8, 8), 200, np.uint8)
    deep = np.full((8, 8, 3), 0xAB12, np.uint16)
    files = {
        "1.png": (Image.new("1", (8, 8), 1), (255, 255, 255)),
        "LA.png": (Image.fromarray(np.dstack([grey, grey // 2])), (200, 200, 200)),
        "CMYK.tif": (Image.new("CMYK", (8, 8), (255, 0, 0, 0)), (0, 255, 255)),
        "RGBA.webp": (Image.new("RGBA", (8, 8), (10, 20, 30, 255)), None),
    }
    for name, (picture, expected) in files.items():
        picture.save(tmp_path / name)
        (image,) = read_images([tmp_path / name], 8)
        assert expected is None or (image == expected).all(), name
    header = b"P6 8 8 65535\n"  # 16 bits a channel, of which 8 are kept
    (tmp_path / "deep.ppm").write_bytes(header + deep.astype(">u2").tobytes())
    assert np.isin(read_images([tmp_path / "deep.ppm"], 8), (0xAA, 0xAB)).all()


def test_ycbcr_is_read_right_or_refused(tmp_path):
    """Uncompressed, some versions of Pillow read past the end: into what a program may write there."""
    picture = Image.new("RGB", (8, 8), (90, 90, 90)).convert("YCbCr")
    for name in ("lzw", "jpeg"):
        picture.save(tmp_path / f"{name}.tif", compression=name.replace("lzw", "tiff_lzw"))
        assert (read_images([tmp_path / f"{name}.tif"], 8) == 90).all()
    picture.save(tmp_path / "raw.tif")
    picture.save(tmp_path / "coarse.tif", tiffinfo={TiffImagePlugin.YCBCRSUBSAMPLING: (2, 2)})
    refused = pytest.raises(
        UnreadableImagesError, match=r"uncompressed TIFF of YCbCr.*to RGB first"
    )
    for name in ("raw.tif", "coarse.tif"):
        with (tmp_path / name).open("ab") as file:
            file.write(bytes(1000))
        is_read = name == "raw.tif" and int(version("pillow").split(".")[0]) >= 13
        with nullcontext() if is_read else refused:
            assert (read_images([tmp_path / name], 8) == 90).all()


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_grey_is_refused(mode, tmp_path):
    Image.new(mode, (8, 8)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImagesError, match=r"more than 8 bits a channel.*convert it to 8"):
        read_images([tmp_path / "x.tif"], 8)


def test_a_large_scan_is_read_without_a_warning_and_a_larger_one_is_told(tmp_path):
    """196 million pixels, for which Pillow alone raises an error."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.new("1", (14_000, 14_000), 1).save(tmp_path / "scan.png")
    assert (read_images([tmp_path / "scan.png"], 8) == 255).all()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    content = (tmp_path / "scan.png").read_bytes()
    check = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "scan.png").write_bytes(content[:16] + header + check + content[33:])
    with pytest.raises(UnreadableImagesError, match=r"20000x20000 are 400 million pixels.*smaller"):
        read_images([tmp_path / "scan.png"], 8)
    assert limit == Image.MAX_IMAGE_PIXELS
