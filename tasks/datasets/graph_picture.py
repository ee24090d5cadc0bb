"""Pictures of the nearest-neighbour graph of cells: lines of some width on a canvas, brought to the size of an image.

Paper and benchmark name the graph and the canvas; width, polarity and lines without grey are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.specs import Number, Strict

from .point_graph import nearest_neighbour_edges


class GraphOptions(Strict):
    """How the graph of the cells of a sample is drawn."""

    um_per_px: Number = Field(1.0, ge=0.1, le=10)
    """Micrometres a canvas pixel; our choice, 0.5 is possible too."""
    width: int = Field(2, ge=1)
    """Width of a line in canvas pixels; our choice."""
    antialias: bool = False
    """Draw grey borders of lines; off, our choice: grey appears only when the canvas is resized."""
    invert: bool = False
    """Draw black on white instead of white on black; our choice."""
    k: int = Field(5, ge=1)
    """Neighbours a cell is joined with, n - 1 where there are fewer; edges have no direction, our choice."""


def draw_graph(
    cells: NDArray[np.float64], extent: Sequence[float], options: GraphOptions, side: int
) -> NDArray[np.uint8]:
    """Draw the k-nearest-neighbour graph of the cells of one sample.

    Args:
        cells: (n, 2) float64 x, y in um from the upper left corner of the field; n = 1 gives a dot, 0 nothing.
        extent: width and height of the field in um.
        options: how.
        side: height and width of the picture in pixels.

    Returns:
        (side, side) uint8, row = y, column = x.
    """
    columns, rows = (max(1, round(length / options.um_per_px)) for length in extent)
    pixels = cells * (np.array([columns, rows]) / np.asarray(extent))
    edges = np.zeros((1, 2), dtype=np.int64) if len(cells) == 1 else nearest_neighbour_edges(cells, options.k)
    canvas = draw_lines(pixels, edges, rows, columns, width=options.width, antialias=options.antialias)
    picture = resize_linear(canvas, side, side)
    return 255 - picture if options.invert else picture


def draw_lines(
    pixels: NDArray[np.float64], edges: NDArray[np.int64], rows: int, columns: int, *, width: float, antialias: bool
) -> NDArray[np.uint8]:
    """Draw edges as lines with round ends: a pixel is lit when its centre lies within half a width of an edge.

    Args:
        pixels: (n, 2) float64 x, y in pixels from the upper left corner of the canvas.
        edges: (m, 2) int64, rows of ``pixels``; an edge from a point to itself is a dot.
        rows: height of the canvas.
        columns: width of the canvas.
        width: of a line, in pixels.
        antialias: fade from 255 to 0 over one pixel about the border instead.

    Returns:
        (rows, columns) uint8; 0 and 255 only without ``antialias``. What lies outside the canvas is not drawn.

    Example:
        >>> ends = np.array([[1.0, 1.0], [3.0, 1.0]])
        >>> draw_lines(ends, np.array([[0, 1]]), 3, 4, width=2, antialias=False).tolist()
        [[255, 255, 255, 255], [255, 255, 255, 255], [0, 0, 0, 0]]
    """
    start, stop = pixels[edges[:, 0]], pixels[edges[:, 1]]
    reach = width / 2 + (0.5 if antialias else 0.0)
    size = np.array([columns, rows])
    low = np.clip(np.floor(np.minimum(start, stop) - reach), 0, size).astype(np.int64)
    high = np.clip(np.ceil(np.maximum(start, stop) + reach), 0, size).astype(np.int64)
    wide, tall = (high - low).T
    edge = np.repeat(np.arange(len(edges)), wide * tall)
    place = np.arange(len(edge)) - np.repeat(np.cumsum(wide * tall) - wide * tall, wide * tall)
    down, right = np.divmod(place, wide[edge])
    column, row = low[edge, 0] + right, low[edge, 1] + down
    x, y = column + 0.5 - start[edge, 0], row + 0.5 - start[edge, 1]
    dx, dy = (stop - start).T
    squared = dx**2 + dy**2
    scale = np.divide(1.0, squared, out=np.zeros_like(squared), where=squared > 0)
    share = np.clip((x * dx[edge] + y * dy[edge]) * scale[edge], 0, 1)
    distance = (x - share * dx[edge]) ** 2 + (y - share * dy[edge]) ** 2
    canvas = np.zeros(rows * columns)
    cell = row * columns + column
    if antialias:
        np.maximum.at(canvas, cell, np.clip(reach - np.sqrt(distance), 0, 1))
    else:
        canvas[cell[distance <= reach**2]] = 1
    return np.rint(255 * canvas).astype(np.uint8).reshape(rows, columns)


def resize_linear(picture: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Resize by linear interpolation between the centres of pixels; beyond the outermost centres values stay.

    Args:
        picture: (h, w) uint8.
        rows: new height.
        columns: new width.

    Returns:
        (rows, columns) uint8, rounded to the nearest level, halves to even.

    Example:
        >>> resize_linear(np.array([[0, 100]], dtype=np.uint8), 1, 4).tolist()
        [[0, 25, 75, 100]]
    """
    mixed = picture.astype(np.float64)
    for axis, length in ((0, rows), (1, columns)):
        have = mixed.shape[axis]
        centre = np.clip((np.arange(length) + 0.5) * (have / length) - 0.5, 0, have - 1)
        before = np.minimum(centre.astype(np.int64), max(have - 2, 0))
        share = np.expand_dims(centre - before, 1 - axis)
        mixed = mixed.take(before, axis) * (1 - share) + mixed.take(np.minimum(before + 1, have - 1), axis) * share
    return np.rint(mixed).astype(np.uint8)
