"""Points in boxes: a worked case, boundaries, a naive loop, properties, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from harness.tasks.metrics.binning import Members, points_in_boxes, to_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SCENES = st.tuples(
    arrays(np.float64, st.tuples(st.integers(0, 40), st.just(2)), elements=st.integers(-6, 6)),
    arrays(np.float64, st.tuples(st.integers(0, 9), st.just(4)), elements=st.integers(-7, 7)),
)
"""Points and corners of boxes on a small lattice: coincident points, points on edges, boxes without width."""
FLOATS = st.floats(-1e300, 1e300)
WILD = st.tuples(
    arrays(np.float64, st.tuples(st.integers(0, 30), st.just(2)), elements=FLOATS),
    arrays(np.float64, st.tuples(st.integers(0, 6), st.just(4)), elements=FLOATS),
)
"""The same of any magnitude, where sums of coordinates would round or overflow."""


def turn(corners: np.ndarray) -> np.ndarray:
    """Make boxes of any two opposite corners."""
    return np.hstack([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])])


def find_slowly(points: np.ndarray, boxes: np.ndarray) -> list[list[int]]:
    """Compare every point with every box."""
    return [
        [row for row, (x, y) in enumerate(points.tolist()) if x0 <= x <= x1 and y0 <= y <= y1]
        for x0, y0, x1, y1 in boxes.tolist()
    ]


def as_lists(members: Members) -> list[list[int]]:
    """Write members out box by box."""
    return [members.of(box).tolist() for box in range(len(members.counts))]


def test_boxes_by_hand() -> None:
    """Of four points, one lies in both boxes, two in one of them, and one, outside, in none."""
    points = np.array([[1.0, 1.0], [5.0, 5.0], [3.0, 3.0], [9.0, 0.0]])
    found = points_in_boxes(points, np.array([[0.0, 0.0, 4.0, 4.0], [2.0, 2.0, 6.0, 6.0], [6.5, 6.5, 7.0, 7.0]]))
    assert found.start.tolist() == [0, 2, 4, 4]
    assert found.index.tolist() == [0, 2, 1, 2]
    assert found.counts.tolist() == [2, 2, 0]
    assert found.start.dtype == found.index.dtype == found.counts.dtype == np.int64


def test_both_ends_are_closed() -> None:
    """Points on the corners and edges are inside; those one rounding step beyond are not."""
    edges = np.array([[1.0, 2.0], [3.0, 5.0], [1.0, 5.0], [3.0, 2.0], [2.0, 2.0], [3.0, 4.0]])
    beyond = [
        [np.nextafter(1.0, 0), 3.0],
        [np.nextafter(3.0, 9), 3.0],
        [2.0, np.nextafter(2, 0)],
        [2.0, np.nextafter(5, 9)],
    ]
    assert points_in_boxes(np.vstack([beyond, edges]), np.array([[1.0, 2.0, 3.0, 5.0]])).index.tolist() == [
        *range(4, 10)
    ]


def test_a_box_may_be_a_point() -> None:
    """A box without width or height holds the points that coincide with it."""
    points = np.array([[2.0, 2.0], [2.0, 3.0], [2.0, 2.0]])
    assert as_lists(points_in_boxes(points, np.array([[2.0, 2.0, 2.0, 2.0]]))) == [[0, 2]]


@given(st.one_of(SCENES, WILD))
@settings(max_examples=200, deadline=None)
def test_agrees_with_a_naive_loop(scene: tuple[np.ndarray, np.ndarray]) -> None:
    """Ties, overlaps and coordinates of any magnitude give what comparing everything with everything gives."""
    points, boxes = scene[0], turn(scene[1])
    assert as_lists(points_in_boxes(points, boxes)) == find_slowly(points, boxes)


@pytest.mark.parametrize("shape", ["even", "crowded", "line"])
def test_agrees_with_a_naive_comparison_on_many_boxes(shape: str) -> None:
    """Nine hundred boxes, more than are searched at once, among 5,000 points, spread, in one crowd or on a line."""
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 1000, (5000, 2))
    if shape == "crowded":
        points[10:] = 500 + points[10:] / 100
    if shape == "line":
        points[:, 0] = 500
    boxes = turn(rng.uniform(0, 1000, (900, 4)))
    inside = (boxes[:, None, :2] <= points).all(axis=2) & (points <= boxes[:, None, 2:]).all(axis=2)
    found = points_in_boxes(points, boxes)
    np.testing.assert_array_equal(found.index, np.nonzero(inside)[1])
    np.testing.assert_array_equal(found.counts, inside.sum(axis=1))


@given(SCENES, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_order_of_the_points_does_not_matter(scene: tuple[np.ndarray, np.ndarray], random: object) -> None:
    """Permuted points give the same members under their new numbers, ascending again."""
    points, boxes = scene[0], turn(scene[1])
    order = list(range(len(points)))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = {old: new for new, old in enumerate(order)}
    moved = as_lists(points_in_boxes(points[order], boxes))
    assert moved == [sorted(place[row] for row in box) for box in as_lists(points_in_boxes(points, boxes))]


def test_far_from_the_origin_every_step_counts() -> None:
    """At 2**52, where neighbouring numbers are 1 apart, a box of side 2 holds 3 x 3 of 5 x 5 points."""
    grid = 2.0**52 + np.arange(5)
    points = np.array([(x, -y) for x in grid for y in grid])
    found = points_in_boxes(points, np.array([[grid[1], -grid[3], grid[3], -grid[1]]]))
    assert found.index.tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (4, 0)])
def test_nothing_is_found_among_nothing(n: int, m: int) -> None:
    """Without points every box is empty, without boxes there is no member."""
    found = points_in_boxes(np.zeros((n, 2)), np.zeros((m, 4)))
    assert found.start.tolist() == [0] * (m + 1)
    assert found.index.tolist() == []
    assert found.index.dtype == found.counts.dtype == np.int64


def test_inputs_stay_as_they_are() -> None:
    """Read-only arrays are accepted."""
    points, boxes = np.array([[1.0, 1.0]]), np.array([[0.0, 0.0, 2.0, 2.0]])
    points.flags.writeable = boxes.flags.writeable = False
    assert points_in_boxes(points, boxes).index.tolist() == [0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_coordinate_that_is_no_number_is_refused(value: float) -> None:
    """The message names the row of the point or box."""
    points, boxes = np.zeros((3, 2)), np.zeros((2, 4))
    points[2, 1] = boxes[1, 3] = value
    with pytest.raises(ValueError, match="finite points; row 2"):
        points_in_boxes(points, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="finite boxes; row 1"):
        points_in_boxes(np.zeros((3, 2)), boxes)


@pytest.mark.parametrize("box", [[2.0, 0.0, 1.0, 1.0], [0.0, 2.0, 1.0, 1.0]])
def test_a_box_that_ends_before_it_begins_is_refused(box: list[float]) -> None:
    """The message names the box."""
    with pytest.raises(ValueError, match=r"box 1 is \["):
        points_in_boxes(np.zeros((1, 2)), np.array([[0.0, 0.0, 1.0, 1.0], box]))


def test_another_shape_is_refused() -> None:
    """Three coordinates a point, or two numbers a box, are an error."""
    with pytest.raises(ValueError, match=r"points of shape \(n, 2\), got \(4, 3\)"):
        points_in_boxes(np.zeros((4, 3)), np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"boxes of shape \(n, 4\), got \(1, 2\)"):
        points_in_boxes(np.zeros((4, 2)), np.zeros((1, 2)))


def test_matrix_marks_the_members() -> None:
    """Box by point, 1 inside and 0 elsewhere."""
    found = points_in_boxes(np.array([[0.0, 0.0], [5.0, 5.0], [1.0, 1.0]]), np.array([[0.0, 0, 1, 1], [7, 7, 8, 8]]))
    assert to_matrix(found, 3).toarray().tolist() == [[1, 0, 1], [0, 0, 0]]
