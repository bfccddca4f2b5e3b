"""What a recording wants done, as values: `recording` decides them, the muxer and the shell do them.

Owns these values and nothing else. In any sequence of them each `Write` lies between an `Open` and the `Cut` or
`Close` that ends its segment, and names a track of that `Open`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from recorder.depacketize.units import CodecParameters
from sfu.rtc.sdp.codec import Kind


class Reason(StrEnum):
    """Why a segment ended."""

    LENGTH = "length"
    PARAMETERS = "parameters"
    """Resolution, codec or anything else a container holds for the whole segment."""
    TRACKS = "tracks"
    """A track that the segment lacks has begun to flow."""
    GAP = "gap"
    """Nothing came for too long, or the clock went back."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a segment whose time 0 is `start_us`, us of UTC since 1970; at most one track of each kind."""

    start_us: int
    tracks: tuple[CodecParameters, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Put one unit into the open segment."""

    track: Kind
    pts_us: int
    """From the segment's start: not negative, and at least 1 ms after the track's previous one."""
    duration_us: int | None
    """None if only the next unit's time tells."""
    data: bytes
    key: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """Finish the open segment; the recording goes on with another `Open`, at once or once media comes again."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Close:
    """Finish the open segment, if there is one: the recording has ended."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class AskKeyFrame:
    """Ask the producer for a key frame; at most one each 500 ms."""


Action = Open | Write | Cut | Close | AskKeyFrame
