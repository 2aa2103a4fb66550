"""Decode the user's own image files: upright, square, RGB.

The files come from anywhere. One error names all files that cannot be read, and no decoder writes to the
terminal.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, YCBCRSUBSAMPLING, TiffImageFile

from pipeline.core.dataset import Images
from pipeline.core.dataset_facts import DatasetError

# The content of a file selects the decoder, never its name. Pillow's other decoders (among them PostScript,
# which runs Ghostscript) are not safe for files from anywhere.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_MOST_STRETCHED = 100  # length over width: a thinner image would be enlarged to gigabytes
_MOST_PIXELS = 2**28  # of one image: a gigabyte in memory
_MOST_NAMED = 1000  # unreadable files in one message

# EXIF orientation -> the operation that turns the image upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImagesError(DatasetError):
    """Image files that cannot be read: `problems` has a line for each, of `tried` files.

    >>> print(UnreadableImagesError(["cat/1.png cannot be read as an image: the file is empty"], 10))
    cat/1.png cannot be read as an image: the file is empty
    1 of 10 image files cannot be read: mend or remove them
    """

    def __init__(self, problems: Sequence[str], tried: int) -> None:
        self.problems, self.tried = list(problems), tried
        lines = self.problems[:_MOST_NAMED]
        if more := len(self.problems) - len(lines):
            lines.append(f"and {more:,} more")
        count = f"{len(self.problems):,} of {tried:,} image files"
        super().__init__("\n".join([*lines, f"{count} cannot be read: mend or remove them"]))


def read_images(
    paths: Sequence[Path], size: int, progress: Callable[[], None] = lambda: None
) -> Images:
    """Decode image files to u1 [N,size,size,3], RGB.

    Each image is turned upright (by its EXIF, unless that is damaged), loses its transparency, is resized
    (bilinear) so that its short side fits, and is cropped in the centre. Of several images in one file the
    first is used; 16-bit colours lose 8 bits. `progress` is called after each file. Raises
    `UnreadableImagesError` naming all files that cannot be read.
    """
    images = np.empty((len(paths), size, size, 3), dtype=np.uint8)
    problems = []
    with _quiet_pillow():
        for row, path in enumerate(paths):
            try:
                if path.exists() and not path.is_file():  # a pipe: opened, it waits for ever
                    raise ValueError("it is a pipe or a device, or a link to one; remove it")
                with Image.open(path, formats=FORMATS) as image, _quiet_libtiff(image):
                    images[row] = np.asarray(_square(_to_rgb(image), size))
            except Exception as error:  # decoders raise any type over a damaged file
                problems.append(f"{path} cannot be read as an image: {_reason(path, error)}")
            progress()
    if problems:
        raise UnreadableImagesError(problems, len(paths))
    return images


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Inside, Pillow shows no warnings, and its own limit of pixels is off (ours is `_MOST_PIXELS`)."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    logger = logging.getLogger("PIL")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
        logger.setLevel(level)


@contextmanager
def _quiet_libtiff(image: Image.Image) -> Iterator[None]:
    """Inside, file descriptor 2 is closed to libtiff, which writes warnings there, past Python."""
    if image.format != "TIFF":
        yield
        return
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def _to_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise ValueError(
            f"{width}x{height} are {width * height / 1e6:,.0f} million pixels, and at most "
            f"{_MOST_PIXELS / 1e6:,.0f} million are read; make it smaller first"
        )
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(
            "it has more than 8 bits a channel, and the value of white is unknown; convert it to 8 bits "
            "first"
        )
    if _is_misread(image):
        raise ValueError(
            "it is an uncompressed TIFF of YCbCr, which this version of Pillow misreads; convert it to "
            "RGB first"
        )
    image.load()
    upright = _upright(image)
    if "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _is_misread(image: Image.Image) -> bool:
    """Whether it is an uncompressed TIFF of YCbCr that Pillow takes for other pixels, often in silence.

    Before version 13 it reads four bytes a pixel where three lie, and no version knows of subsampling.
    """
    if not isinstance(image, TiffImageFile) or image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) != 6:
        return False
    is_raw = any(tile[0] == "raw" for tile in image.tile)
    return is_raw and (image.mode != "YCbCr" or image.tag_v2.get(YCBCRSUBSAMPLING) != (1, 1))


def _upright(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it rewrites all of the EXIF and fails on odd values.
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF, which image viewers ignore too
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _square(image: Image.Image, size: int) -> Image.Image:
    short = min(image.size)
    if max(image.size) > _MOST_STRETCHED * short:
        raise ValueError(f"{image.size[0]}x{image.size[1]} pixels: too long to be made square")
    width, height = (max(size, round(side * size / short)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return _content(path)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    if isinstance(error, ValueError | OSError) and text:
        return text
    return f"it is damaged ({type(error).__name__}: {text})"


def _content(path: Path) -> str:
    """What a file holds, in words, if Pillow finds no image of `FORMATS` in it."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; `git lfs pull` fetches the image"
    if head.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        return "it is a web page"
    if head[4:8] == b"ftyp":
        return "it is AVIF, HEIC or a film; convert it to PNG or JPEG"
    if head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF")):
        return "it is PostScript or PDF; convert it to PNG or JPEG"
    return f"it is none of {', '.join(FORMATS)}, or damaged at its beginning"
