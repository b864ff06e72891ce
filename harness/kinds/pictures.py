"""Images as models see them: files of every format that Pillow reads in RGB of 8 bits, and arrays.

An array has the shape (height, width) or (height, width, channels) and holds integers from 0 to 255.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PLUGINS = ("pillow_heif.HeifImagePlugin", "pi_heif.HeifImagePlugin", "pillow_avif", "pillow_jxl")
"""Modules that teach Pillow a format when they are imported."""
DEEP = "have 16 bits a value, of which the upper 8 are used"
GREY = "are greyscale: a colour model gets their values in each of its three channels"


class Picture(NamedTuple):
    """An image in RGB of 8 bits."""

    image: Any
    remarks: tuple[str, ...] = ()
    """The change made to the file, to follow "3 of 7 images"."""
    peak: int = 0
    """The largest value of an image of 16 bits."""


@cache
def load_plugins() -> None:
    """Register the formats of the plug-ins for Pillow that are installed."""
    from PIL import Image

    Image.init()
    for name in PLUGINS:
        with suppress(ImportError):
            importlib.import_module(name)


def load_image(value: Mapping[str, Any]) -> Picture:
    """Return the image in `value`'s `bytes`, or else at its `path`; ValueError if the model could not see all of it."""
    from PIL import Image, ImageOps

    load_plugins()
    data = value.get("bytes")
    with Image.open(value["path"] if data is None else io.BytesIO(data)) as image:
        remarks = []
        frames = getattr(image, "n_frames", 1)
        if image.format == "MPO":  # of phones: beside the photo its preview or depth
            remarks.append("hold further pictures (MPO), of which the first is used")
        elif frames > 1 and image.format != "PSD":  # layers of one picture
            raise ValueError(f"it has {frames} pages or frames; keep the one that the model is to see")
        is_deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
        raw = image.tile[0][3] if image.tile else ""  # Pillow keeps the upper 8 of 16 bits in colour by itself
        is_deep_colour = not is_deep and any(form in str(raw) for form in (";16B", ";16L", ";16N"))
        image.load()
        if 0 in image.size:
            raise ValueError(f"it is {image.width} x {image.height} pixels large")
        if image.getexif().get(0x0112, 1) in range(2, 9):
            remarks.append("are turned upright, as their EXIF orientation says")
        upright = ImageOps.exif_transpose(image)
        if is_deep:
            values = np.asarray(upright).astype(np.int64)
            remarks += [DEEP, GREY]
            eight = Image.fromarray((values >> 8).astype(np.uint8))
            return Picture(eight.convert("RGB"), tuple(remarks), int(values.max()))
        pixels, remark = _to_rgb(upright)
    if is_deep_colour:
        return Picture(pixels, (*remarks, DEEP, *remark), int(np.asarray(pixels).max()) << 8)
    return Picture(pixels, (*remarks, *remark))


def picture_size(value: Any) -> tuple[int, int]:
    """Return height and width of an image, a file's once it is upright, without loading its pixels."""
    from PIL import Image

    if not isinstance(value, Mapping):
        height, width = image_array(value).shape[:2]
        return height, width
    load_plugins()
    data = value.get("bytes")
    with Image.open(value["path"] if data is None else io.BytesIO(data)) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(0x0112, 1) in range(5, 9) else (height, width)


def _to_rgb(image: Any) -> tuple[Any, list[str]]:
    """Return the image in RGB, and how it was changed; ValueError for modes whose range nothing declares."""
    if image.mode in ("I", "F"):
        bits = "32-bit integers" if image.mode == "I" else "floats"
        raise ValueError(f"it holds {bits} (mode {image.mode}), whose range is unknown; save it with 8 or 16 bits")
    remarks = [GREY] if image.mode in ("1", "L", "LA", "La") else []
    if image.mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        remarks.append(f"have mode {image.mode}, converted to RGB without their colour profile")
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            remarks.append("are transparent in part: the colour under it is used, as by Pillow's convert('RGB')")
    return image.convert("RGB"), remarks


def image_array(value: Any) -> NDArray[np.uint8]:
    """Return an image, or nested lists, as an array (height, width, channels); ValueError if it is no image."""
    array = np.asarray(value)
    if array.dtype == bool:
        array = array * np.uint8(255)
    shape = array.shape
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[0] in (1, 3) and shape[2] > 4):
        raise ValueError(f"it has the shape {shape}; expected (height, width) or (height, width, channels)")
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        values = f"from {array.min():g} to {array.max():g}" if array.dtype.kind in "iuf" else "of no numbers"
        raise ValueError(f"it holds {array.dtype} {values}; scale it to integers from 0 to 255")
    return array.reshape(*shape[:2], -1).astype(np.uint8)


def fit_channels(image: NDArray[np.uint8], channels: int | None) -> NDArray[np.uint8]:
    """Return the image with `channels` channels: grey to colour, or grey that is saved as colour; ValueError else."""
    own = image.shape[2]
    if channels in (None, own):
        return image
    if own == 1 and channels == 3:
        return image.repeat(3, axis=2)
    if own == 3 and channels == 1 and (image == image[:, :, :1]).all():
        return image[:, :, :1]
    raise ValueError(f"it has {own} channels")
