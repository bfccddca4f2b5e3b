"""The media times of one stream: single ones that are wrong, and new beginnings.

Owns the media time that a packet is taken to have, and how close together the packets of one frame come. Never knows
sequence numbers and never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from typing import Final

from sfu.media.formats.rtp import time_delta

_SMOOTHING_SHARE: Final = 0.1
_BURSTY_S: Final = 0.0005  # average time between packets of one frame
_JUMP_S: Final = 10.0  # of media time between two packets, beyond the time that passed


class MediaTimes:
    """The media times of one producer.

    A frame whose media time is far from the one before may be one mistake of a recorder or camera: it gets a media time
    between its neighbours. Only a second frame that fits it makes a new beginning.
    """

    def __init__(self) -> None:
        self.corrected = 0
        """Packets that got another media time."""
        self._last, self._at = 0, 0.0
        self._step = 0
        self._stray: tuple[int, int, float] | None = None
        """The latest wrong media time, the one used instead, and when it came."""
        self._spacing = 1.0

    @property
    def last(self) -> int:
        """Returns the media time of the latest packet in order."""
        return self._last

    @property
    def bursty(self) -> bool:
        """True if the packets of one frame come so close together that it costs little to wait for its end."""
        return self._spacing < _BURSTY_S

    def note(self, media_time: int, count: int, now: float) -> None:
        """Notes `count` packets of one media time that came together and are the latest of the stream."""
        if media_time == self._last:
            self._spacing += (now - self._at - self._spacing) * _SMOOTHING_SHARE
        else:
            self._step = media_time - self._last
        self._spacing *= (1 - _SMOOTHING_SHARE) ** (count - 1)  # the others came with the first one
        self._last, self._at = media_time, now

    def jumps(self, media_time: int, clock_rate: int, now: float) -> bool:
        """True if this does not continue the latest media time: a file starts again, a clock was set.

        A pause is no jump, since both clocks go on, and neither is an interrupted link, after which all comes late.
        """
        if (media_time - self._last) & 0xFFFF_FFFF <= _JUMP_S * clock_rate:
            return False
        return _apart(media_time, self._last, now - self._at, clock_rate)

    def instead(self, media_time: int, clock_rate: int, now: float) -> int | None:
        """Returns the media time to use for one that jumps; None if it is the second in a row of a new beginning."""
        if self._stray is not None and self._last == self._stray[1]:
            stray, used, came_at = self._stray
            if media_time == stray:
                self.corrected += 1
                return used
            if not _apart(media_time, stray, now - came_at, clock_rate):
                return None
        step = max(1, int((now - self._at) * clock_rate))
        if 0 < self._step < 2 * step:  # the packets of a frame come at different times
            step = self._step
        self._stray = media_time, self._last + step & 0xFFFF_FFFF, now
        self.corrected += 1
        return self._stray[1]

    def of_late(self, media_time: int) -> int:
        """Returns the media time to use for a packet that comes later than others of its frame may have."""
        return self._stray[1] if self._stray is not None and media_time == self._stray[0] else media_time

    def restart(self) -> None:
        """Forgets the wrong media time: another stream begins with the next packet."""
        self._stray = None


def _apart(media_time: int, last: int, elapsed: float, clock_rate: int) -> bool:
    step = time_delta(media_time, last) / clock_rate
    return abs(step) > _JUMP_S and abs(step - elapsed) > _JUMP_S
