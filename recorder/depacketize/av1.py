"""AV1 (AOMedia's RTP payload specification, version 1.0): assembles OBUs and reads the picture size.

Owns this format, never packet order. Units are temporal units of the low-overhead format without temporal delimiters,
as MP4 and Matroska keep them (AV1 bitstream specification section 5.2; AV1 in ISOBMFF section 2.4).
"""

from __future__ import annotations

from recorder.depacketize.frame import MAX_UNIT_BYTES, NOTHING, Frame, drawable
from recorder.depacketize.units import CodecParameters
from sfu.media.formats.bits import Bits, BrokenError, leb128
from sfu.rtc.sdp.codec import Codec

_DELIMITER = 2
_SEQUENCE_HEADER, _FRAME_HEADER, _METADATA, _FRAME = 1, 3, 5, 6
_KEPT = frozenset((_SEQUENCE_HEADER, _FRAME_HEADER, 4, _METADATA, _FRAME, 7))
"""OBU types that are kept; 4 and 7 are tile groups and redundant frame headers. Delimiters and padding are not."""
_FIRST_CONTINUES, _LAST_CONTINUES = 0x80, 0x40
_HAS_EXTENSION, _HAS_SIZE = 0x04, 0x02
_MAX_SEQUENCE_HEADER_BYTES = 4096


class Av1:
    """The `Format` of AV1; its units are temporal units."""

    def __init__(self, codec: Codec) -> None:
        self._clock_rate = codec.clock_rate
        self._sequence_header = b""
        """The last valid one, as an OBU with size."""
        self._parameters: CodecParameters | None = None
        self.discard()

    def discard(self) -> None:
        """See `Format`."""
        self._unit = bytearray()
        self._open: bytearray | None = None
        """The OBU that the next packet continues."""
        self._has_header = False
        self._key: bool | None = None
        """True if the first frame is a key frame; None before the first frame."""

    def add(self, payload: bytes) -> bool:
        """See `Format`."""
        try:
            elements = _elements(payload)
        except BrokenError:
            return False
        if bool(payload[0] & _FIRST_CONTINUES) != (self._open is not None):
            return False
        for left, element in zip(range(len(elements) - 1, -1, -1), elements, strict=True):
            held = self._open or bytearray()
            held += element
            self._open = held if not left and payload[0] & _LAST_CONTINUES else None
            if self._open is None and not self._add_obu(bytes(held)):
                return False
        return len(self._unit) + len(self._open or b"") <= MAX_UNIT_BYTES

    def begins(self, payload: bytes) -> bool:
        """See `Format`. A temporal unit begins with a delimiter, or with a sequence header if that was left out."""
        if self._key is None or payload[0] & _FIRST_CONTINUES:
            return False
        try:
            first = _elements(payload)[0][0] >> 3 & 0x0F
        except BrokenError:
            return False
        return first in (_SEQUENCE_HEADER, _DELIMITER)

    def _add_obu(self, obu: bytes) -> bool:
        """Adds a whole OBU to the unit; False if it is broken."""
        head = obu[0]
        kind = head >> 3 & 0x0F
        if kind not in _KEPT:
            return True
        body = 2 if head & _HAS_EXTENSION else 1
        header = bytes((head | _HAS_SIZE,)) + obu[1:body]
        try:
            size, start = leb128(obu, body) if head & _HAS_SIZE else (len(obu) - body, body)
        except BrokenError:
            return False
        content = obu[start : start + size]
        if len(content) < max(size, 1):
            return False
        sized = header + _encode_leb128(size) + content
        if kind == _SEQUENCE_HEADER:
            if not self._read_sequence_header(content, sized):
                return False
            self._has_header = True
        elif kind in (_FRAME_HEADER, _FRAME) and self._key is None:
            self._key = content[0] & 0xE0 == 0  # not show_existing_frame, and KEY_FRAME
        self._unit += sized
        return True

    def _read_sequence_header(self, content: bytes, sized: bytes) -> bool:
        """Takes the codec parameters from a sequence header; False if it is broken."""
        if sized == self._sequence_header:
            return True
        try:
            size = _picture_size(Bits(content[:_MAX_SEQUENCE_HEADER_BYTES]))
        except BrokenError:
            return False
        if len(sized) > _MAX_SEQUENCE_HEADER_BYTES or not drawable(*size):
            return False
        self._sequence_header = sized
        self._parameters = CodecParameters("AV1", self._clock_rate, *size, extradata=sized)
        return True

    def finish(self, *, whole: bool) -> Frame | None:  # noqa: ARG002 - a packet that starts a key frame has its header
        """See `Format`. A sequence header without a frame is kept for the next key frame."""
        data, key, torn, has_header = bytes(self._unit), self._key, self._open is not None, self._has_header
        self.discard()
        if torn:
            return None
        if key is None:
            return NOTHING
        if not key:
            return Frame(data, False, None)
        if self._parameters is None:
            return None
        return Frame(data if has_header else self._sequence_header + data, True, self._parameters)


def _elements(payload: bytes) -> list[bytes]:
    """Returns the OBUs and fragments of OBUs in a packet (section 4.4), none of them empty. Raises BrokenError."""
    count = payload[0] >> 4 & 0x03
    elements: list[bytes] = []
    position = 1
    while position < len(payload):
        size = len(payload) - position
        if len(elements) + 1 != count:  # the last of a counted list extends to the end
            size, position = leb128(payload, position)
        element = payload[position : position + size]
        if len(element) < size:
            raise BrokenError
        if element:
            elements.append(element)
        position += size
    if not elements or len(elements) < count:
        raise BrokenError
    return elements


def _encode_leb128(value: int) -> bytes:
    """Returns a number in LEB128 (AV1 section 4.10.5)."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _picture_size(bits: Bits) -> tuple[int, int]:
    """Returns max_frame_width and max_frame_height of a sequence header (AV1 section 5.5.1)."""
    bits.take(3 + 1)
    if bits.flag():  # reduced_still_picture_header
        bits.take(5)
    else:
        delay_bits = _timing(bits) if bits.flag() else 0
        display_delays = bits.flag()
        for _ in range(bits.take(5) + 1):
            _skip_operating_point(bits, delay_bits, display_delays=display_delays)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _timing(bits: Bits) -> int:
    """Skips timing_info and decoder_model_info; returns the bits of a decoder buffer delay, 0 without a model."""
    bits.take(64)
    if bits.flag():  # equal_picture_interval
        bits.unsigned()
    if not bits.flag():
        return 0
    delay_bits = bits.take(5) + 1
    bits.take(32 + 5 + 5)
    return delay_bits


def _skip_operating_point(bits: Bits, delay_bits: int, *, display_delays: bool) -> None:
    bits.take(12)
    if bits.take(5) > 7:  # seq_level_idx: only higher levels have tiers
        bits.take(1)
    if delay_bits and bits.flag():
        bits.take(2 * delay_bits + 1)
    if display_delays and bits.flag():
        bits.take(4)
