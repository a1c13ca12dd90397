"""A small drawing board on Pillow: everything is drawn twice as large and halved, so that lines are smooth."""

from collections.abc import Sequence
from functools import cache
from math import ceil, floor, log10
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from envs.system import Floats

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels of the finished picture."""

WIDTH, HEIGHT = 512, 480
"""Multiples of 16: no video codec has to scale them."""
FINE = 2

PAPER: Colour = (255, 255, 255)
INK: Colour = (36, 41, 47)
GREY: Colour = (128, 128, 128)
FAINT: Colour = (216, 222, 228)
CLOUD: Colour = (160, 174, 192)
PATH: Colour = (0, 114, 178)
PRESENT: Colour = (213, 94, 0)
TARGET: Colour = (0, 158, 115)


class Board:
    """A picture under construction; all coordinates are pixels of the finished one, and may be fractions."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    @classmethod
    def empty(cls, width: int = WIDTH, height: int = HEIGHT) -> "Board":
        """White paper."""
        return cls(Image.new("RGB", (width * FINE, height * FINE), PAPER))

    def copy(self) -> "Board":
        """The same picture, to draw on."""
        return Board(self.image.copy())

    def cut(self, box: Box) -> "Board":
        """A part of the picture as a board of its own: what is drawn beyond its edges is lost."""
        left, top, right, bottom = (FINE * edge for edge in box)
        return Board(self.image.crop((left, top, right, bottom)))

    def paste(self, part: "Board", box: Box) -> None:
        """Put a part back."""
        self.image.paste(part.image, (FINE * box[0], FINE * box[1]))

    def array(self, pixels: Pixels, box: Box) -> None:
        """Fill a box with an array of colours [rows, columns, 3], each a rectangle of one colour."""
        size = (FINE * (box[2] - box[0]), FINE * (box[3] - box[1]))
        drawn = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.NEAREST)
        self.image.paste(drawn, (FINE * box[0], FINE * box[1]))

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float = 1.0) -> None:
        """A line through the points."""
        self._draw.line(
            [(FINE * x, FINE * y) for x, y in points], fill=colour, width=round(FINE * width), joint="curve"
        )

    def dot(self, x: float, y: float, radius: float, colour: Colour, rim: Colour | None = None) -> None:
        """A filled circle."""
        around = [FINE * (x - radius), FINE * (y - radius), FINE * (x + radius), FINE * (y + radius)]
        self._draw.ellipse(around, fill=colour, outline=rim, width=FINE)

    def ring(self, x: float, y: float, radius: float, colour: Colour, width: float = 2.0) -> None:
        """A circle with a cross through its middle."""
        around = [FINE * (x - radius), FINE * (y - radius), FINE * (x + radius), FINE * (y + radius)]
        self._draw.ellipse(around, outline=colour, width=round(FINE * width))
        self.line([(x - 1.6 * radius, y), (x + 1.6 * radius, y)], colour)
        self.line([(x, y - 1.6 * radius), (x, y + 1.6 * radius)], colour)

    def specks(self, points: Floats, colour: Colour) -> None:
        """Many points [M, 2], each a pixel."""
        if len(points):
            corners = np.round(FINE * points)
            for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
                self._draw.point(np.add(corners, (dx, dy)).ravel().tolist(), fill=colour)

    def bar(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """A filled rectangle."""
        left, top, right, bottom = (round(FINE * edge) for edge in box)
        if right > left and bottom > top:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def frame(self, box: Box, colour: Colour = GREY) -> None:
        """The outline of a box."""
        left, top, right, bottom = (FINE * edge for edge in box)
        self._draw.rectangle((left - 1, top - 1, right, bottom), outline=colour)

    def text(
        self, x: float, y: float, words: str, anchor: str = "la", size: int = 13, colour: Colour = INK
    ) -> None:
        """Words; `anchor` is Pillow's: l m r for left, middle, right, then a m s for top, middle, baseline."""
        self._draw.text((FINE * x, FINE * y), words, fill=colour, font=_font(FINE * size), anchor=anchor)

    def upright(self, x: float, y: float, words: str, size: int = 13) -> None:
        """Words from below to above, their middle at (x, y)."""
        font = _font(FINE * size)
        left, top, right, bottom = font.getbbox(words)
        strip = Image.new("RGB", (right - left, bottom - top), PAPER)
        ImageDraw.Draw(strip).text((-left, -top), words, fill=INK, font=font)
        turned = strip.transpose(Image.Transpose.ROTATE_90)
        self.image.paste(turned, (round(FINE * x) - turned.width // 2, round(FINE * y) - turned.height // 2))

    def pixels(self) -> Pixels:
        """The finished picture, [height, width, 3]."""
        return np.asarray(self.image.reduce(FINE))


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def blend(colour: Colour, share: float, ground: Colour = PAPER) -> Colour:
    """`share` of a colour over another one, in place of transparency."""
    red, green, blue = (round(share * c + (1 - share) * g) for c, g in zip(colour, ground, strict=True))
    return red, green, blue


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two limits: 1, 2 or 5 times a power of ten apart.

    >>> ticks(-0.3, 1.1)
    [-0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    power = 10.0 ** floor(log10((high - low) / most))
    stride = next(power * m for m in (1, 2, 5, 10) if power * m * most >= (high - low) * (1 - 1e-9))
    first, last = ceil(low / stride - 1e-9), floor(high / stride + 1e-9)
    return [round(n * stride, 12) for n in range(first, last + 1)]


def number(value: float) -> str:
    """A tick's label."""
    return f"{value:g}" if value else "0"


def diverging(values: Floats) -> Pixels:
    """Colours of values in [-1, 1]: blue, white, red; [...] -> [..., 3]."""
    place = (np.clip(np.nan_to_num(values), -1, 1) + 1) / 2 * (len(_SCALE) - 1)
    low = np.minimum(place.astype(np.intp), len(_SCALE) - 2)
    part = (place - low)[..., None]
    return np.asarray(np.round((1 - part) * _SCALE[low] + part * _SCALE[low + 1]), dtype=np.uint8)


_SCALE = np.array(
    [
        (8, 48, 107),
        (0, 114, 178),
        (146, 197, 222),
        (247, 247, 247),
        (244, 165, 130),
        (213, 94, 0),
        (127, 39, 4),
    ],
    dtype=np.float64,
)
"""From the look of the reports: their blue and their orange, darker at the ends, white in the middle."""
