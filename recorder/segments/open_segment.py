"""The state of a segment that is being written.

Owns what is known of each of its tracks, and when one of them is silent. Never decides what is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from recorder.depacketize.units import CodecParameters, Unit
from sfu.rtc.sdp.codec import Kind

GAP_US: Final = 5_000_000
"""Silence that ends a segment."""
_FAR_AHEAD_US: Final = 2 * GAP_US
"""More than sound and picture are ever apart."""
BACK_US: Final = 1_000_000
"""Step back of the wall time that ends a segment."""


@dataclass(slots=True)
class OpenSegment:
    """The tracks of a segment that is being written, and how far each of them is."""

    start_us: int
    tracks: dict[Kind, CodecParameters]
    last_us: dict[Kind, int] = field(default_factory=dict)
    """Wall time of each track's last unit."""
    until_us: dict[Kind, int] = field(default_factory=dict)
    """The latest of them: that of a picture that is sent ahead of those before it."""
    last_pts: dict[Kind, int] = field(default_factory=dict)
    led_at: float = 0.0
    """When the last unit of the leading track was written, by `now`."""
    went_back: bool = False
    """True if sound went back in time: the next key frame begins another segment."""

    @property
    def leading_track(self) -> Kind:
        """Returns the track that decides where to cut: video, at its key frames, if there is any."""
        return "video" if "video" in self.tracks else "audio"

    def turns(self, unit: Unit) -> bool:
        """True if this picture stands otherwise than those so far: a file holds one orientation."""
        known = self.tracks.get("video")
        return known is not None and known.orientation != unit.orientation

    def since(self, track: Kind, wall_us: int) -> int:
        """Returns the wall time since the track's last unit."""
        return wall_us - self.last_us.get(track, self.start_us)

    def ends_before(self, track: Kind, wall_us: int, now: float) -> bool:
        """True if the leading track was silent for too long before this unit of `track`, or itself went back.

        Each track is measured by its own times: two that are apart must not cut the recording again and again. Sound
        shows that video is silent by when it comes, or, if a clock was set, by a time that is far ahead of both.
        """
        since = self.since(track, wall_us)
        if track == self.leading_track:
            return since > GAP_US or since < -BACK_US
        ahead = min(since, self.since(self.leading_track, wall_us))
        return ahead > _FAR_AHEAD_US or now - self.led_at > GAP_US / 1e6
