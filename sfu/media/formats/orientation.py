"""How a picture has to be turned to stand upright (3GPP TS 26.114 section 7.4.5), and the matrices of files for that.

An orientation is a number from 0 to 7: the quarter turns clockwise, plus 4 if the picture as it was sent has to be
mirrored left to right before. Owns these numbers. Never turns a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final

UPRIGHT: Final = 0
_BITS: Final = 0b111
"""Flip and rotation. The bit before them says which camera of a phone it is: that turns nothing."""
_MATRICES: Final[Mapping[int, tuple[int, int, int, int]]] = {
    0: (1, 0, 0, 1),
    1: (0, 1, -1, 0),
    2: (-1, 0, 0, -1),
    3: (0, -1, 1, 0),
    4: (-1, 0, 0, 1),
    5: (0, -1, -1, 0),
    6: (1, 0, 0, -1),
    7: (0, 1, 1, 0),
}
"""a, b, c, d: a point (x, y) comes to (ax + cy, bx + dy), plus a shift that keeps it in sight."""
_ORIENTATIONS: Final = {matrix: number for number, matrix in _MATRICES.items()}
_QUARTERS: Final = 0b11
_ONE: Final = 1 << 16
_LAST: Final = 1 << 30
_SIDE_DATA: Final = Struct("=9i")


def of_extension(value: bytes) -> int:
    """Returns the orientation in the header extension `urn:3gpp:video-orientation`; 0 for an empty one."""
    return value[0] & _BITS if value else UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """True if width and height change places."""
    return bool(orientation & 1)


def mirrors(orientation: int) -> bool:
    """True if the picture as it was sent has to be mirrored before it is turned."""
    return orientation > _QUARTERS


def matrix(orientation: int, width: int, height: int) -> tuple[int, ...]:
    """Returns the nine numbers of a track header (ISO/IEC 14496-12 section 6.2.2) for coded pictures of this size."""
    a, b, c, d = _MATRICES[orientation]
    x, y = width * (a < 0) + height * (c < 0), width * (b < 0) + height * (d < 0)
    return (a * _ONE, b * _ONE, 0, c * _ONE, d * _ONE, 0, x * _ONE, y * _ONE, _LAST)


def of_matrix(data: bytes) -> int:
    """Returns the orientation of FFmpeg's display matrix; 0 if it is none of quarter turns."""
    if len(data) < _SIDE_DATA.size:
        return UPRIGHT
    a, b, _, c, d, *_ = _SIDE_DATA.unpack_from(data)
    return _ORIENTATIONS.get((_sign(a), _sign(b), _sign(c), _sign(d)), UPRIGHT)


def of_side_data(side_data: Any) -> int:
    """Returns the orientation of a decoded picture by its side data, a mapping of PyAV; 0 without a display matrix."""
    matrix = side_data.get("DISPLAYMATRIX")
    return UPRIGHT if matrix is None else of_matrix(bytes(matrix))


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
