"""RTP payloads of one track -> whole units, ready for a container.

Owns where a unit begins and ends, and which units a hole in the stream breaks. Never decodes, never waits, never
raises on remote bytes, never holds more than one unit, of at most 4 MiB.

    h26x        H.264 and H.265
    vpx         VP8 and VP9
    av1         AV1
    audio       opus, G.711, G.722
    frame       the interface and bounds that they share
    units       the values that leave this folder
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final

from recorder.depacketize.audio import Audio
from recorder.depacketize.av1 import Av1
from recorder.depacketize.frame import Format
from recorder.depacketize.h26x import NalUnits
from recorder.depacketize.units import CodecParameters, Unit
from recorder.depacketize.vpx import Vp8, Vp9
from sfu.media.formats import orientation
from sfu.media.formats.key_frame_detection import starts_key_frame
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec

_FORMATS: Final[Mapping[str, Callable[[Codec], Format]]] = {
    "H264": NalUnits,
    "H265": NalUnits,
    "VP8": Vp8,
    "VP9": Vp9,
    "AV1": Av1,
    "opus": Audio,
    "PCMU": Audio,
    "PCMA": Audio,
    "G722": Audio,
}


class DepacketizeDrop(StrEnum):
    """The reason why a packet or unit was dropped."""

    LATE = "late"
    """A packet that came after one with a higher index."""
    TORN = "torn"
    """A unit with a hole in it."""
    BROKEN = "broken"
    """A unit that breaks its payload format, is too large, or is a key frame without parameter sets."""


class Depacketizer:
    """The depacketizer of one track and codec: packets in, in order of their index, units out.

    A unit of audio is one packet. A unit of video ends where the next one begins: at the next media time, or at a
    packet that begins a picture after one with the marker. The marker alone proves nothing, since some encoders set it
    on each packet, or on none (RFC 6184 section 5.1). A unit with a hole in it is dropped, and the next one has `lost`
    set. After a hole only a key frame shows where a unit begins.
    """

    def __init__(self, codec: Codec) -> None:
        self.drops = dict.fromkeys(DepacketizeDrop, 0)
        self._codec = codec.name
        self._video = codec.kind == "video"
        self._format = _FORMATS[codec.name](codec)
        self._next_index: int | None = None
        self._media_time = 0
        self._first_index = 0
        self._state = _State.BETWEEN
        self._after_hole = True
        self._orientation = orientation.UPRIGHT
        self._turned: CodecParameters | None = None
        """The latest parameters, with the orientation."""
        self._whole = False
        self._lost = False
        self._marked = False
        """True if the latest packet has the marker."""
        self._markers = False
        """True if any packet had it."""
        self._honest: bool | None = None
        """True if the marker ends units, False if it has stood within one; None before that is known."""

    def learn(self, sets: Iterable[bytes]) -> None:
        """Takes parameter sets that the encoder said before the first packet."""
        if isinstance(self._format, NalUnits):
            self._format.learn(sets)

    @property
    def open(self) -> bool:
        """True if a unit has begun and not ended."""
        return self._state is not _State.BETWEEN

    @property
    def complete(self) -> bool:
        """True if the open unit has all its packets, as far as markers tell."""
        return self._state is not _State.BETWEEN and self._marked and self._honest is True

    def push(self, packet: Packet, turned: int | None = None) -> list[Unit]:
        """Adds a packet and returns the units that it completes, mostly one or none.

        Units of video end with an earlier packet, those of audio with this one. `turned`: the orientation that this
        packet states; it holds until another one is stated.
        """
        expected = self._next_index
        if expected is not None and packet.index < expected:
            self.drops[DepacketizeDrop.LATE] += 1
            return []
        self._next_index = packet.index + 1
        units: list[Unit] = []
        if expected is not None and packet.index > expected:
            self._hole(units)
        elif self._state is not _State.BETWEEN and self._ended(packet):
            self._finish(units)
        if turned is not None:
            self._orientation = turned
        if packet.payload:
            self._add(packet)
            if self._honest is None and packet.marker and not self._marked and packet.index > self._first_index:
                self._honest = True  # the first marker of a unit of several packets
            self._marked = packet.marker
            self._markers = self._markers or packet.marker
            if not self._video:
                self._finish(units)
        return units

    def flush(self) -> list[Unit]:
        """Ends the open unit, since no packet follows, and returns it; nothing if its end is missing."""
        units: list[Unit] = []
        if self._marked or not self._markers:
            self._finish(units)
        elif self._state is not _State.BETWEEN:
            self._drop(DepacketizeDrop.TORN)
            self._state = _State.BETWEEN
        return units

    def _ended(self, packet: Packet) -> bool:
        """True if the open unit has ended before this packet."""
        if packet.media_time != self._media_time:
            if self._honest is None and self._marked:
                self._honest = True
            return True
        if not self._marked or not packet.payload:
            return False
        if self._state is not _State.GATHERING:
            return self._honest is not False
        begins = self._format.begins(packet.payload)
        if not begins:
            self._honest = False
        return begins

    def _hole(self, units: list[Unit]) -> None:
        """Ends the open unit if it is complete, else drops it: a packet of it or of the next one is missing."""
        if self.complete:
            self._finish(units)
        self._after_hole = self._lost = True
        if self._state is not _State.BETWEEN:
            self._drop(DepacketizeDrop.TORN)
            self._state = _State.BETWEEN

    def _add(self, packet: Packet) -> None:
        """Adds a packet to the open unit, or begins one with it."""
        if self._state is _State.BETWEEN:
            self._state = _State.SEARCHING if self._after_hole and self._video else _State.GATHERING
            self._whole = self._state is _State.GATHERING
            self._media_time, self._first_index = packet.media_time, packet.index
            self._after_hole = False
        if self._state is _State.SEARCHING and starts_key_frame(self._codec, packet.payload):
            self._state = _State.GATHERING
        if self._state is _State.GATHERING and not self._format.add(packet.payload):
            self._drop(DepacketizeDrop.BROKEN)
            self._state = _State.SKIPPING

    def _finish(self, units: list[Unit]) -> None:
        """Ends the open unit and adds it to `units` if it is whole."""
        state, self._state = self._state, _State.BETWEEN
        if state is _State.SEARCHING:
            self._drop(DepacketizeDrop.TORN)
        if state is not _State.GATHERING:
            return
        frame = self._format.finish(whole=self._whole)
        if frame is None:
            self._drop(DepacketizeDrop.BROKEN)
            return
        if not frame.data:
            return
        units.append(
            Unit(
                self._media_time,
                frame.data,
                frame.key,
                self._first_index,
                self._lost,
                frame.duration,
                self._with_orientation(frame.parameters),
                self._orientation,
            )
        )
        self._lost = False

    def _with_orientation(self, parameters: CodecParameters | None) -> CodecParameters | None:
        """Returns the parameters with the orientation; the same object while nothing changes."""
        if parameters is None or not self._orientation:
            return parameters
        turned = replace(parameters, orientation=self._orientation)
        self._turned = self._turned if self._turned == turned else turned
        return self._turned

    def _drop(self, reason: DepacketizeDrop) -> None:
        """Drops the open unit."""
        self._format.discard()
        self._lost = True
        self.drops[reason] += 1


class _State(StrEnum):
    """The state within a unit."""

    BETWEEN = "between"
    SEARCHING = "searching"
    """After a hole: packets are skipped until one starts a key frame."""
    GATHERING = "gathering"
    SKIPPING = "skipping"
    """Skips the rest of a unit that was dropped."""
