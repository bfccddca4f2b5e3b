"""Sequence parameter sets: their id and the size of the picture (H.264 section 7.3.2.1.1, H.265 section 7.3.2.2.1).

Owns reading a set up to its cropping fields. Never knows packets and never raises on remote bytes.
"""

from __future__ import annotations

from sfu.media.formats.bits import Bits, BrokenError

_WITH_CHROMA_FORMAT = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
"""profile_idc values of H.264 whose sets contain chroma_format_idc."""

_MONOCHROME, _4_2_0, _4_2_2, _4_4_4 = range(4)
_MAX_CYCLE = 255
_ID_BYTES = 160
"""The id of a set lies within these bytes."""


def h264_size(unit: bytes) -> tuple[int, int] | None:
    """Returns width and height in pixels from an H.264 SPS with its NAL unit header; None if it is broken."""
    try:
        bits = Bits(_unescaped(unit[1:]))
        size = _cropped(bits, *_h264_size(bits))
    except BrokenError:
        return None
    return size if min(size) > 0 else None


def h265_size(unit: bytes) -> tuple[int, int] | None:
    """Returns width and height in pixels from an H.265 SPS with its NAL unit header; None if it is broken."""
    try:
        bits = Bits(_unescaped(unit[2:]))
        size = _cropped(bits, *_h265_size(bits))
    except BrokenError:
        return None
    return size if min(size) > 0 else None


def h264_decoded_pixels(unit: bytes) -> int | None:
    """Returns the pixels that a decoder makes room for, before cropping, of an H.264 SPS; None if it is broken."""
    try:
        width, height, _, _ = _h264_size(Bits(_unescaped(unit[1:])))
    except BrokenError:
        return None
    return width * height


def h265_decoded_pixels(unit: bytes) -> int | None:
    """Returns the pixels that a decoder makes room for, before cropping, of an H.265 SPS; None if it is broken."""
    try:
        width, height, _, _ = _h265_size(Bits(_unescaped(unit[2:])))
    except BrokenError:
        return None
    return width * height


def h264_id(unit: bytes) -> int:
    """Returns the id of an H.264 SPS with its NAL unit header; -1 if it is broken."""
    try:
        bits = Bits(_unescaped(unit[1:_ID_BYTES]))
        bits.take(24)
        return bits.unsigned()
    except BrokenError:
        return -1


def h265_id(unit: bytes) -> int:
    """Returns the id of an H.265 SPS with its NAL unit header; -1 if it is broken."""
    try:
        bits = Bits(_unescaped(unit[2:_ID_BYTES]))
        bits.take(4)
        sub_layers = bits.take(3)
        bits.take(1)
        _skip_profile_tier_level(bits, sub_layers)
        return bits.unsigned()
    except BrokenError:
        return -1


def _unescaped(payload: bytes) -> bytes:
    """Removes emulation prevention: the third byte of 00 00 03 is not part of the set."""
    return payload.replace(b"\x00\x00\x03", b"\x00\x00")


def _h264_size(bits: Bits) -> tuple[int, int, int, int]:
    """Returns width and height before cropping, and the pixels that one step of cropping removes of each."""
    profile = bits.take(8)
    bits.take(16)
    bits.unsigned()
    chroma = _h264_chroma(bits) if profile in _WITH_CHROMA_FORMAT else _4_2_0
    bits.unsigned()
    _skip_order_count(bits)
    bits.unsigned()
    bits.take(1)
    width = 16 * (bits.unsigned() + 1)
    map_units = 16 * (bits.unsigned() + 1)
    fields = 1 if bits.flag() else 2
    if fields == 2:
        bits.take(1)
    bits.take(1)
    height = map_units * fields
    x, y = _crop_unit(chroma)
    return width, height, x, y * fields


def _h264_chroma(bits: Bits) -> int:
    """Returns the chroma format that counts for cropping; moves past the scaling lists."""
    chroma = bits.unsigned()
    separate = chroma == _4_4_4 and bits.flag()
    bits.unsigned()
    bits.unsigned()
    bits.take(1)
    if bits.flag():
        for index in range(12 if chroma == _4_4_4 else 8):
            if bits.flag():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return _MONOCHROME if separate else chroma


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) & 0xFF
        last = following or last


def _skip_order_count(bits: Bits) -> None:
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()
    elif kind == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        cycle = bits.unsigned()
        if cycle > _MAX_CYCLE:
            raise BrokenError
        for _ in range(cycle):
            bits.signed()


def _h265_size(bits: Bits) -> tuple[int, int, int, int]:
    """Returns width and height before cropping, and the pixels that one step of cropping removes of each."""
    bits.take(4)
    sub_layers = bits.take(3)
    bits.take(1)
    _skip_profile_tier_level(bits, sub_layers)
    bits.unsigned()
    chroma = bits.unsigned()
    if chroma == _4_4_4 and bits.flag():
        chroma = _MONOCHROME
    width, height = bits.unsigned(), bits.unsigned()
    return width, height, *_crop_unit(chroma)


def _skip_profile_tier_level(bits: Bits, sub_layers: int) -> None:
    bits.take(88 + 8)
    present = [(bits.flag(), bits.flag()) for _ in range(sub_layers)]
    if sub_layers:
        bits.take(2 * (8 - sub_layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)


def _crop_unit(chroma: int) -> tuple[int, int]:
    """Returns the pixels that one step of cropping removes, horizontally and vertically."""
    return (2 if chroma in (_4_2_0, _4_2_2) else 1, 2 if chroma == _4_2_0 else 1)


def _cropped(bits: Bits, width: int, height: int, x: int, y: int) -> tuple[int, int]:
    """Returns the size after frame cropping (H.264), or of the conformance window (H.265).

    Both are four numbers: left, right, top, bottom.
    """
    if not bits.flag():
        return width, height
    across = bits.unsigned() + bits.unsigned()
    down = bits.unsigned() + bits.unsigned()
    return width - x * across, height - y * down
