"""VP8 (RFC 7741) and VP9 (RFC 9628): removes payload descriptors and reads the sizes of key frames.

Owns these two formats, never packet order. Of several spatial layers of VP9 only the lowest is kept: players would show
the others as frames of their own.
"""

from __future__ import annotations

from recorder.depacketize.frame import MAX_UNIT_BYTES, NOTHING, Frame, drawable
from recorder.depacketize.units import CodecParameters
from sfu.media.formats import vp8
from sfu.media.formats.bits import Bits, BrokenError
from sfu.rtc.sdp.codec import Codec

_VP9_SYNC_CODE = 0x498342
_VP9_RGB = 7
_VP9_SAMPLINGS = ("yuv444p", "yuv440p", "yuv422p", "yuv420p")
"""Index: two bits, subsampling_x and subsampling_y."""


class Vp8:
    """The `Format` of VP8. The first packet begins partition 0, which has the frame's header."""

    def __init__(self, codec: Codec) -> None:
        self._clock_rate = codec.clock_rate
        self._frame = bytearray()
        self._parameters: CodecParameters | None = None

    def add(self, payload: bytes) -> bool:
        """See `Format`."""
        position = vp8.descriptor_length(payload)
        begins = payload[0] & 0x17 == 0x10  # S, and partition 0
        if begins != (not self._frame) or position >= len(payload):
            return False
        self._frame += payload[position:]
        return len(self._frame) <= MAX_UNIT_BYTES

    def begins(self, payload: bytes) -> bool:
        """See `Format`."""
        return bool(self._frame) and payload[0] & 0x17 == 0x10

    def finish(self, *, whole: bool) -> Frame | None:  # noqa: ARG002 - a frame that began is whole
        """See `Format`."""
        data, self._frame = bytes(self._frame), bytearray()
        if data[0] & 1:
            return Frame(data, False, None)
        size = vp8.key_frame_size(data)
        if size is None:
            return None
        self._parameters = _kept(self._parameters, CodecParameters("VP8", self._clock_rate, *size))
        return Frame(data, True, self._parameters)

    def discard(self) -> None:
        """See `Format`."""
        self._frame = bytearray()


class Vp9:
    """The `Format` of VP9. A frame goes from a packet with B to one with E."""

    def __init__(self, codec: Codec) -> None:
        self._clock_rate = codec.clock_rate
        self._frame = bytearray()
        self._ended = False
        self._parameters: CodecParameters | None = None

    def add(self, payload: bytes) -> bool:
        """See `Format`."""
        position, spatial_layer = _vp9_descriptor(payload)
        if position >= len(payload):
            return False
        if spatial_layer:
            return True
        begins = bool(payload[0] & 0x08)
        if begins != (not self._frame):
            return False
        self._frame += payload[position:]
        self._ended = bool(payload[0] & 0x04)
        return len(self._frame) <= MAX_UNIT_BYTES

    def begins(self, payload: bytes) -> bool:
        """See `Format`."""
        return self._ended and bool(payload[0] & 0x08) and not _vp9_descriptor(payload)[1]

    def finish(self, *, whole: bool) -> Frame | None:  # noqa: ARG002 - a frame that began is whole
        """See `Format`."""
        data, ended = bytes(self._frame), self._ended
        self.discard()
        if not data:
            return NOTHING
        if not ended:
            return None
        try:
            parameters = _vp9_key_frame(data, self._clock_rate)
        except BrokenError:
            return None
        if parameters is None:
            return Frame(data, False, None)
        if not drawable(parameters.width, parameters.height):
            return None
        self._parameters = _kept(self._parameters, parameters)
        return Frame(data, True, self._parameters)

    def discard(self) -> None:
        """See `Format`."""
        self._frame = bytearray()
        self._ended = False


def _kept(known: CodecParameters | None, found: CodecParameters) -> CodecParameters:
    """Returns the same object while nothing changes: recordings compare it at each key frame."""
    return known if known == found else found


def _vp9_descriptor(payload: bytes) -> tuple[int, int]:
    """Returns the length of the payload descriptor and the spatial layer (RFC 9628 section 4.2)."""
    first = payload[0]
    padded = payload[:8] + bytes(8)  # zeros read as the end of every list
    position = 1
    layer = 0
    flexible = first & 0x10
    if first & 0x80:  # I
        position += 2 if padded[position] & 0x80 else 1
    if first & 0x20:  # L
        layer = padded[position] >> 1 & 0x07
        position += 1 if flexible else 2
    if flexible and first & 0x40:  # F and P: up to three reference indices
        for _ in range(3):
            position += 1
            if not padded[position - 1] & 0x01:
                break
    if first & 0x02:  # V
        position += _scalability(payload, position)
    return position, layer


def _scalability(payload: bytes, start: int) -> int:
    """Returns the length of the scalability structure at `start`; it exceeds the payload if that is cut short."""
    if start >= len(payload):
        return 1
    head = payload[start]
    position = start + 1
    if head & 0x10:  # Y: width and height of each layer
        position += 4 * ((head >> 5) + 1)
    if head & 0x08:  # G: the pictures of a group
        count = payload[position] if position < len(payload) else 0
        position += 1
        for _ in range(count):
            references = payload[position] >> 2 & 0x03 if position < len(payload) else 0
            position += 1 + references
    return position - start


def _vp9_key_frame(frame: bytes, clock_rate: int) -> CodecParameters | None:
    """Reads a key frame's header (VP9 bitstream section 6.2); None for other frames. Raises BrokenError."""
    bits = Bits(frame[:16])
    bits.take(2)  # frame_marker
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3:
        bits.take(1)
    if bits.flag() or bits.flag():  # show_existing_frame, frame_type
        return None
    bits.take(2)  # show_frame, error_resilient_mode
    if bits.take(24) != _VP9_SYNC_CODE:
        raise BrokenError
    pixel_format = _vp9_pixel_format(bits, profile)
    width, height = bits.take(16) + 1, bits.take(16) + 1
    return CodecParameters("VP9", clock_rate, width, height, pixel_format=pixel_format)


def _vp9_pixel_format(bits: Bits, profile: int) -> str:
    """Reads color_config() (VP9 bitstream section 6.2.2) and returns FFmpeg's name of the pixel format."""
    depth = "" if profile < 2 else "12le" if bits.flag() else "10le"
    if bits.take(3) == _VP9_RGB:
        bits.take(profile & 1)
        return f"gbrp{depth}"
    bits.take(1)  # color_range
    sampling = 0b11
    if profile & 1:
        sampling = bits.take(2)
        bits.take(1)
    return _VP9_SAMPLINGS[sampling] + depth
