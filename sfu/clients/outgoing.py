"""The sending half of RTP: frames -> packets with their header extensions, and the sender reports that time them.

Pure: `now` and wall time come in. Owns sequence numbers, media time and counts of one stream; never sends.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from sfu.clients.frames import Frame
from sfu.clients.packetize import PAYLOADS
from sfu.media.formats.rtcp import SenderReport, sender_report
from sfu.media.formats.rtp import extension_block
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID
from sfu.units import ntp_time

_HEADER = struct.Struct("!BBHII")
_LATE = 1.0


def abs_send_time(wall: float) -> int:
    """Seconds since 1970 as the extension's 24-bit number: NTP seconds modulo 64, in 1/2^18 s."""
    return ntp_time(wall) >> 14 & 0xFF_FFFF


class MediaClock:
    """Which media second it is now, one answer for all tracks of a source: what keeps lips and voice together."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._origin: float | None = None

    def due(self, seconds: float, now: float) -> float:
        """When the frame of media time `seconds` is to be sent: now, if the source is live.

        A clock that ran a second late (a suspended machine, a camera that stalled) moves on instead of catching up.
        """
        origin = now - seconds
        if self._origin is None or (late := origin - self._origin) > _LATE:
            self._origin = origin
        elif self._live:
            # towards the least delayed frames quickly, towards delayed ones (or a slow camera clock) slowly
            self._origin += late * (0.5 if late < 0 else 0.001)
        return now if self._live else self._origin + seconds

    def seconds(self, now: float) -> float:
        """The media time of `now`; 0 before the first frame."""
        return 0.0 if self._origin is None else now - self._origin


class OutgoingStream:
    """One SSRC of ours."""

    def __init__(self, codec: Codec, *, mid: str, ssrc: int, sequence: int, offset: int) -> None:
        """`sequence` and `offset` (media time at second 0, in ticks) are where the numbering starts (random)."""
        self.codec = codec
        self.mid = mid
        self.ssrc = ssrc
        self.packets = 0
        self.octets = 0
        self.wanted = False
        """Whether the other side takes this stream."""
        self._sequence = sequence
        self._offset = offset
        self._payload_type = codec.payload_type
        self._extensions: Mapping[str, int] = {}

    def agree(self, payload_type: int, extensions: Mapping[str, int]) -> None:
        """What the answer says: the payload type, and the header extensions (URI -> id) that may be sent."""
        self._payload_type = payload_type
        self._extensions = extensions
        self.wanted = True

    def refuse(self) -> None:
        """The answer rejects this stream: nothing is to be sent."""
        self.wanted = False

    def packetize(self, frame: Frame, wall: float) -> list[bytes]:
        """The frame's RTP packets, to be sent at wall time `wall`; the marker as RFC 6184, 7741, 9628 and 7587 say."""
        payloads = PAYLOADS[self.codec.name](frame.data)
        last = len(payloads) - 1 if self.codec.kind == "video" else -1
        return [self.packet(p, frame.seconds, wall, marker=number == last) for number, p in enumerate(payloads)]

    def packet(self, payload: bytes, seconds: float, wall: float, *, marker: bool) -> bytes:
        """The next RTP packet: one payload of the frame of media time `seconds`, to be sent at `wall`."""
        block = self._extension_block(wall)
        second = self._payload_type | marker << 7
        header = _HEADER.pack(0x90 if block else 0x80, second, self._sequence, self._media_time(seconds), self.ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.octets = (self.octets + len(payload)) & 0xFFFF_FFFF
        self.packets += 1
        return header + block + payload

    def report(self, seconds: float, wall: float, cname: str) -> bytes:
        """SR and SDES saying that media time `seconds` was sampled at wall time `wall`."""
        media_time, packets = self._media_time(seconds), self.packets & 0xFFFF_FFFF
        return sender_report(SenderReport(self.ssrc, ntp_time(wall), media_time, packets, self.octets), cname)

    def _media_time(self, seconds: float) -> int:
        return (round(seconds * self.codec.clock_rate) + self._offset) & 0xFFFF_FFFF

    def _extension_block(self, wall: float) -> bytes:
        values = []
        if (number := self._extensions.get(ABS_SEND_TIME)) is not None:
            values.append((number, abs_send_time(wall).to_bytes(3, "big")))
        if (number := self._extensions.get(MID)) is not None:
            values.append((number, self.mid.encode()))
        return extension_block(values)
