"""What a source is: tracks of encoded frames on one media clock. Owns the shapes; never reads, encodes or sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from sfu.rtc.sdp.codec import Codec

VIDEO_CLOCK = 90_000
AUDIO_CLOCK = 48_000

OPUS = Codec("opus", AUDIO_CLOCK, 2, 111, (("minptime", "10"), ("useinbandfec", "1")), ())
VP8 = Codec("VP8", VIDEO_CLOCK, 1, 96, (), ("nack pli", "ccm fir"))
VP9 = Codec("VP9", VIDEO_CLOCK, 1, 98, (("profile-id", "0"),), ("nack pli", "ccm fir"))


def h264(profile_level_id: str = "42e01f") -> Codec:
    """H.264 as our peers send it: packetization-mode 1, the profile that the stream says it has."""
    parameters = (
        ("level-asymmetry-allowed", "1"),
        ("packetization-mode", "1"),
        ("profile-level-id", profile_level_id),
    )
    return Codec("H264", VIDEO_CLOCK, 1, 102, parameters, ("nack pli", "ccm fir"))


class SourceError(Exception):
    """An input that cannot be opened, has nothing to send, or ended in a fault; the message is for people."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One encoded picture, or one packet of sound.

    `seconds` is its media time: both tracks of a source share the origin, and it grows for as long as the source runs.
    """

    track: int
    seconds: float
    data: bytes
    key: bool


@dataclass(slots=True)
class SourceCounters:
    """What a source saw, always on. `requests_ignored`: key frames asked of a track that is not encoded here."""

    frames: int = 0
    passes: int = 0
    reopened: int = 0
    requests_served: int = 0
    requests_ignored: int = 0


class MediaSource(Protocol):
    """A camera's insides. Opened with its tracks known; frames flow once somebody iterates."""

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """One per track; `Frame.track` is the index."""
        ...

    live: bool
    """True: frames come when they happen. False: they come as fast as they are taken; the taker paces them."""
    counters: SourceCounters

    def frames(self) -> AsyncIterator[Frame]:
        """Frames of all tracks in the order they are due; ends with the input; raises SourceError."""
        ...

    def request_key_frame(self) -> None:
        """The next picture should be a key frame, where that is in this source's hands. Never raises, never waits."""
        ...

    async def close(self) -> None:
        """Ends what runs in the background. Idempotent."""
        ...
