"""Covers for the books of the synthetic shop, and covers from files."""

from __future__ import annotations

import colorsys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, UnidentifiedImageError

from fedlib import rng
from fedlib.data.files import explained, one_line
from fedlib.data.truth import SyntheticTruth
from fedlib.data.words import NOUNS
from fedlib.errors import InputError

SIZE = 64  # pixels, both ways
STYLES = ("disc", "triangle", "stripes", "frame")


def draw(truth: SyntheticTruth, item: int) -> Image.Image:
    """The cover of one item, RGB, 64 by 64: the hue tells its category, the shape and the ground tell its style.

    Place, size and shade vary from item to item and mean nothing. The same item always gets the same pixels.
    """
    category, style = int(truth.item_category[item]), int(truth.item_style[item])
    x, y, size, shade = rng.uniform(rng.key(0, "cover", item), torch.arange(4)).tolist()
    hue = category / len(NOUNS)
    ground = _rgb(hue, 0.35 + 0.1 * shade, 0.2 + 0.25 * style)
    image = Image.new("RGB", (SIZE, SIZE), ground)
    centre = SIZE * (0.35 + 0.3 * x), SIZE * (0.35 + 0.3 * y)
    _shape(
        ImageDraw.Draw(image),
        STYLES[style],
        centre,
        SIZE * (0.2 + 0.1 * size),
        _rgb(hue, 0.9, 1.0 if style < 2 else 0.3),
    )
    return image


def read(path: str) -> Image.Image:
    """The picture in a file, RGB; raises :class:`InputError` if it is missing or no picture."""
    with explained(Path(path)):
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as err:
            raise InputError(f"{path} is not a picture that can be read ({one_line(err)}): replace it") from err


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _shape(
    pen: ImageDraw.ImageDraw, style: str, centre: tuple[float, float], size: float, colour: tuple[int, int, int]
) -> None:
    x, y = centre
    if style == "disc":
        pen.ellipse((x - size, y - size, x + size, y + size), fill=colour)
    elif style == "triangle":
        pen.polygon([(x, y - size), (x - size, y + size), (x + size, y + size)], fill=colour)
    elif style == "stripes":
        for top in range(int(y) % 12, SIZE, 12):
            pen.rectangle((0, top, SIZE, top + size / 4), fill=colour)
    else:
        pen.rectangle((x - size, y - size, x + size, y + size), outline=colour, width=6)
