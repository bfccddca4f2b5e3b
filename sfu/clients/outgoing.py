"""The sending half of RTP: frames to packets with header extensions, and the sender reports that time them.

Pure: `now` (any clock) and `wall` (seconds since 1970) are arguments. Owns sequence numbers, media time and counts of
one stream. Never sends.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from sfu.clients.frames import Frame
from sfu.clients.packetize import PAYLOADS
from sfu.media.formats.rtcp import SenderReport, sender_report
from sfu.media.formats.rtp import extension_block
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, VIDEO_ORIENTATION
from sfu.units import ntp_time

_HEADER = struct.Struct("!BBHII")
_RESTART_S = 1.0
"""A media clock that is late by more than this starts again instead of catching up."""
_CATCH_UP_FACTOR = 0.5
_FALL_BACK_FACTOR = 0.001
_SEND_TIMES = 1 << 24
_SEND_TIME_UNIT_US = 1_000_000 / (1 << 18)


def abs_send_time(wall: float) -> int:
    """Returns the 24-bit value of the abs-send-time extension: NTP seconds modulo 64, in units of 1/2^18 s."""
    return ntp_time(wall) >> 14 & 0xFF_FFFF


def send_time_delta(earlier: int, later: int) -> int:
    """Returns the units from one abs-send-time to another, at most 32 s either way; negative if `later` is before."""
    units = (later - earlier) % _SEND_TIMES
    return units - _SEND_TIMES if units >= _SEND_TIMES // 2 else units


def latency_us(sent: int, received: float) -> int:
    """Returns the microseconds from an abs-send-time to `received` (seconds since 1970), at most 32 s either way."""
    return round(send_time_delta(sent, abs_send_time(received)) * _SEND_TIME_UNIT_US)


class MediaClock:
    """The media time of a source. All its tracks share one clock, which keeps picture and sound in step."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._origin: float | None = None

    def due(self, seconds: float, now: float) -> float:
        """Returns the time to send the frame of media time `seconds`: `now` if the source is live.

        A clock that is late by more than a second (suspended machine, stalled camera) starts again at this frame.
        """
        origin = now - seconds
        if self._origin is None or (late := origin - self._origin) > _RESTART_S:
            self._origin = origin
        elif self._live:
            # quickly towards the least delayed frames, slowly towards delayed ones or a slow camera clock
            self._origin += late * (_CATCH_UP_FACTOR if late < 0 else _FALL_BACK_FACTOR)
        return now if self._live else self._origin + seconds

    def seconds(self, now: float) -> float:
        """Returns the media time at `now`; 0 before the first frame."""
        return 0.0 if self._origin is None else now - self._origin


class OutgoingStream:
    """One outgoing RTP stream (SSRC)."""

    def __init__(self, codec: Codec, *, mid: str, ssrc: int, sequence: int, offset: int) -> None:
        """`sequence` and `offset` (RTP time at second 0) are the random start values of RFC 3550 section 5.1."""
        self.codec = codec
        self.mid = mid
        self.ssrc = ssrc
        self.packets = 0
        self.octets = 0
        self.wanted = False
        """True if the other side receives this stream."""
        self.active = True
        """True while the source has this track."""
        self._sequence = sequence
        self._offset = offset
        self._payload_type = codec.payload_type
        self._extensions: Mapping[str, int] = {}
        self._turned = False
        """True once a picture did not stand upright: from then on each one says how it stands."""

    def offer(self, codec: Codec | None) -> None:
        """Offers the stream in this codec from now on; None: the source has no such track now.

        In the same codec with other parameters it goes on at once, else with the answer.
        """
        self.wanted = self.wanted and codec is not None and (codec.name == self.codec.name)
        self.active = codec is not None
        self.codec = codec or self.codec

    def agree(self, payload_type: int, extensions: Mapping[str, int]) -> None:
        """Takes over the answer's payload type, and its header extensions as URI -> id."""
        self._payload_type = payload_type
        self._extensions = extensions
        self.wanted = self.active

    def refuse(self) -> None:
        """Stops sending: the answer rejects this stream."""
        self.wanted = False

    def packetize(self, frame: Frame, wall: float) -> list[bytes]:
        """Returns the frame's RTP packets, to be sent at `wall`. The marker follows RFC 6184, 7741, 9628 and 7587."""
        payloads = PAYLOADS[self.codec.name](frame.data)
        last = len(payloads) - 1 if self.codec.kind == "video" else -1
        if frame.orientation or self._turned:  # on the last packet of each picture, as browsers do
            self._turned = True
            turn = bytes((frame.orientation,))
        else:
            turn = b""
        return [
            self.packet(p, frame.seconds, wall, marker=number == last, turn=turn if number == last else b"")
            for number, p in enumerate(payloads)
        ]

    def packet(self, payload: bytes, seconds: float, wall: float, *, marker: bool, turn: bytes = b"") -> bytes:
        """Returns the next RTP packet: one payload of the frame of media time `seconds`, to be sent at `wall`.

        `turn`: the value of the extension that says how a viewer has to turn the picture, if viewers have to know it.
        """
        block = self._extension_block(wall, turn)
        second = self._payload_type | marker << 7
        header = _HEADER.pack(0x90 if block else 0x80, second, self._sequence, self._media_time(seconds), self.ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.octets = (self.octets + len(payload)) & 0xFFFF_FFFF
        self.packets += 1
        return header + block + payload

    def report(self, seconds: float, wall: float, cname: str) -> bytes:
        """Returns SR and SDES in which media time `seconds` corresponds to `wall`."""
        media_time, packets = self._media_time(seconds), self.packets & 0xFFFF_FFFF
        return sender_report(SenderReport(self.ssrc, ntp_time(wall), media_time, packets, self.octets), cname)

    def _media_time(self, seconds: float) -> int:
        return (round(seconds * self.codec.clock_rate) + self._offset) & 0xFFFF_FFFF

    def _extension_block(self, wall: float, turn: bytes) -> bytes:
        values = []
        if (number := self._extensions.get(ABS_SEND_TIME)) is not None:
            values.append((number, abs_send_time(wall).to_bytes(3, "big")))
        if (number := self._extensions.get(MID)) is not None:
            values.append((number, self.mid.encode()))
        if turn and (number := self._extensions.get(VIDEO_ORIENTATION)) is not None:
            values.append((number, turn))
        return extension_block(values)
