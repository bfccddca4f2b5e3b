"""The size of a recorded or received picture, known before it is decoded.

Owns the bound on it: a key frame of some hundred bytes can claim a size for which a decoder needs gigabytes of memory.
Never decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from sfu.media.formats.picture_size import MAX_PIXELS
from sfu.media.formats.sps import h264_decoded_pixels, h265_decoded_pixels

_START_CODE: Final = b"\x00\x00\x01"
_Sets = tuple[Callable[[int], int], int, Callable[[bytes], int | None]]
_SETS: Final[dict[str, _Sets]] = {
    "h264": (lambda first: first & 0x1F, 7, h264_decoded_pixels),
    "hevc": (lambda first: first >> 1 & 0x3F, 33, h265_decoded_pixels),
}
"""By FFmpeg's codec name: the type of a NAL unit by its first byte, the type of an SPS, the pixels that it claims."""


class PictureError(RuntimeError):
    """There is no picture: the frame is damaged or too large, or there is no video."""


def check_size(codec: str, claimed: tuple[int, int], data: bytes, configuration: bytes = b"") -> None:
    """Raises PictureError if a key frame is larger than 8K by what its container or its parameter sets claim.

    `codec`: FFmpeg's name. `claimed`: width and height, (0, 0) if unknown. `configuration`: `avcC` or `hvcC`, if the
    frame comes from an MP4.
    """
    pixels = claimed[0] * claimed[1]
    if codec in _SETS:
        kind_of, wanted, pixels_of = _SETS[codec]
        units = [*_nal_units(data), *_configured(codec, configuration)]
        for unit in (unit for unit in units if unit and kind_of(unit[0]) == wanted):
            found = pixels_of(unit)
            if found is None:
                raise PictureError("the parameter sets of the key frame are damaged")
            pixels = max(pixels, found)
    if pixels > MAX_PIXELS:
        raise PictureError(f"the picture claims {pixels} pixels: at most {MAX_PIXELS} (8K) are decoded")


def _nal_units(data: bytes) -> Iterator[bytes]:
    """Yields the NAL units of a frame in Annex B, or in the form of MP4, with the length before each."""
    if data.startswith((_START_CODE, b"\x00" + _START_CODE)):
        yield from data.split(_START_CODE)[1:]
    else:
        yield from _with_lengths(data, 0, 4)


def _configured(codec: str, box: bytes) -> Iterator[bytes]:
    """Yields the parameter sets of `avcC` or `hvcC` (ISO/IEC 14496-15 sections 5.3.3.1 and 8.3.3.1)."""
    if codec == "h264":
        yield from islice(_with_lengths(box, 6, 2), box[5] & 0x1F if len(box) > 5 else 0)
        return
    at = 23
    for _ in range(box[22] if len(box) > 22 else 0):
        count = int.from_bytes(box[at + 1 : at + 3], "big")
        for unit in islice(_with_lengths(box, at + 3, 2), count):
            at += 2 + len(unit)
            yield unit
        at += 3


def _with_lengths(data: bytes, at: int, size: int) -> Iterator[bytes]:
    """Yields the pieces from `at` on that have their lengths before them, in `size` bytes."""
    while at + size < len(data):
        start = at + size
        at = start + int.from_bytes(data[at:start], "big")
        yield data[start:at]
