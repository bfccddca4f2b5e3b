"""The times of one track of a file: microseconds in, ticks of its container out.

Owns which tick each unit gets, so that no two have the same. Never reads a clock, never writes.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import av
from av.stream import Stream

from sfu.rtc.sdp.codec import Kind

_MAX_REORDERED: Final = 32
"""Units whose times are compared with that of one that comes late; codecs reorder 16 pictures at most."""
_MAX_DURATION_US: dict[Kind, int] = {"video": 1_000_000, "audio": 120_000}
"""Longest guess of a unit's duration; audio by RFC 6716 section 2.1.4."""
_FIRST_DURATION_US: dict[Kind, int] = {"video": 40_000, "audio": 20_000}  # guess before the second unit


class TrackClock:
    """The times of one track in ticks of its container, each only once, and the duration of its last unit.

    They always rise, unless the track `reorders`: then they may go back, and a unit has its presentation time.
    """

    __slots__ = ("_last", "_longest", "_rate", "_recent", "_video", "duration", "nudged")

    def __init__(self, rate: int, kind: Kind, *, reorders: bool = False) -> None:
        self.nudged = 0
        """Units that were moved to a later tick."""
        self.duration = _FIRST_DURATION_US[kind] * rate // 1_000_000
        """Ticks of the last unit; a guess unless the unit gave its own."""
        self._video = kind == "video"
        self._rate = rate
        self._last: int | None = None
        self._recent: deque[int] | None = deque(maxlen=_MAX_REORDERED) if reorders else None
        self._longest = _MAX_DURATION_US[kind] * rate // 1_000_000

    @property
    def end(self) -> int:
        """Returns where the last unit ends, in ticks."""
        return 0 if self._last is None else self._last + self.duration

    @property
    def duration_us(self) -> int:
        """Returns the duration of the last unit in microseconds."""
        return self.duration * 1_000_000 // self._rate

    def ticks(self, pts_us: int, duration_us: int | None = None) -> int:
        """Returns the next unit's time in ticks; a unit that is not later than the last one moves to the next tick."""
        ticks = (pts_us * self._rate + 500_000) // 1_000_000
        last = self._last
        recent = self._recent
        if recent is not None and last is not None and ticks < last:
            return self._between(ticks, recent)
        if last is not None:
            if ticks <= last:
                ticks = last + 1
                self.nudged += 1
            self.duration = min(ticks - last, self._longest)
        if duration_us is not None:
            self.duration = duration_us * self._rate // 1_000_000
        self._last = ticks
        if recent is not None:
            recent.append(ticks)
        return ticks

    def _between(self, ticks: int, recent: deque[int]) -> int:
        """Returns the time of a unit that is shown before one that came earlier; the next tick if it is taken."""
        while ticks in recent:
            ticks += 1
            self.nudged += 1
        recent.append(ticks)
        return ticks

    def packet(
        self,
        stream: Stream,
        pts_us: int,
        data: bytes,
        *,
        key: bool,
        duration_us: int | None = None,
        shown_us: int | None = None,
    ) -> av.Packet[Any]:
        """Makes FFmpeg's packet of the next unit, for a stream whose time base is this clock.

        `shown_us`: when it is shown, if `pts_us` is only its decode time.
        """
        packet = av.Packet(data)
        packet.stream = stream
        packet.dts = self.ticks(pts_us, duration_us)
        packet.pts = packet.dts
        if shown_us is not None:
            packet.pts = max(packet.dts, (shown_us * self._rate + 500_000) // 1_000_000)
        packet.duration = self.duration
        packet.is_keyframe = key or not self._video
        return packet
