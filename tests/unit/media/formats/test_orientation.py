"""Orientations: what a phone says, what a file's matrix says, and what FFmpeg makes of it."""

from __future__ import annotations

from struct import pack

import pytest

from sfu.media.formats import orientation

EVERY = range(8)


def test_the_bit_for_the_camera_of_a_phone_turns_nothing() -> None:
    assert [orientation.of_extension(bytes((value,))) for value in range(16)] == [*EVERY, *EVERY]
    assert orientation.of_extension(b"") == orientation.UPRIGHT


@pytest.mark.parametrize("number", EVERY)
def test_a_matrix_says_what_it_was_made_of(number: int) -> None:
    assert orientation.of_matrix(pack("=9i", *orientation.matrix(number, 320, 180))) == number


@pytest.mark.parametrize("number", EVERY)
def test_a_matrix_keeps_the_picture_in_sight(number: int) -> None:
    a, b, _, c, d, _, x, y, _ = (value / 65536 for value in orientation.matrix(number, 320, 180))
    corners = [(a * p + c * q + x, b * p + d * q + y) for p in (0, 320) for q in (0, 180)]
    size = (180, 320) if orientation.swaps_sides(number) else (320, 180)
    assert {(min(side), max(side)) for side in zip(*corners, strict=True)} == {(0, size[0]), (0, size[1])}


@pytest.mark.parametrize("data", [b"", bytes(36), pack("=9i", 3, 5, 0, 7, 9, 0, 0, 0, 1)])
def test_other_matrices_turn_nothing(data: bytes) -> None:
    assert orientation.of_matrix(data) == orientation.UPRIGHT
