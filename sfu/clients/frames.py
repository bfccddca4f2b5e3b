"""The interface of a media source: tracks of encoded frames on one media clock.

Owns the types. Never reads, encodes or sends.
"""

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
    """Returns H.264 in packetization-mode 1 (RFC 6184), with the given profile and level."""
    parameters = (
        ("level-asymmetry-allowed", "1"),
        ("packetization-mode", "1"),
        ("profile-level-id", profile_level_id),
    )
    return Codec("H264", VIDEO_CLOCK, 1, 102, parameters, ("nack pli", "ccm fir"))


class SourceError(Exception):
    """An input cannot be opened, has nothing to send, or failed while it was read. The message is for users."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One encoded picture or one packet of sound.

    `seconds` is its media time. Both tracks of a source share the origin; time never restarts while the source runs.
    """

    track: int
    seconds: float
    data: bytes
    key: bool
    orientation: int = 0
    """How a viewer has to turn the picture (`sfu.media.formats.orientation`)."""


@dataclass(frozen=True, slots=True)
class NewTracks:
    """Other tracks of a source, from the next frame on."""

    codecs: tuple[Codec, ...]


@dataclass(slots=True)
class SourceCounters:
    """Counters of a source.

    `skipped`: packets left out since the encoder was too slow. `requests_ignored`: key frame requests for a track that
    is not encoded here.
    """

    frames: int = 0
    passes: int = 0
    reopened: int = 0
    skipped: int = 0
    requests_served: int = 0
    requests_ignored: int = 0


class MediaSource(Protocol):
    """The media of one camera. Its tracks are known from the start; frames flow once `frames` is iterated."""

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """Returns one codec per track; `Frame.track` is the index.

        Another tuple, from a frame on, if a live source has come back with other tracks.
        """
        ...

    live: bool
    """True: frames come in real time. False: they come as fast as they are read, and the reader paces them."""
    counters: SourceCounters

    def frames(self) -> AsyncIterator[Frame]:
        """Yields the frames of all tracks in the order they are due, to the end of the input. Raises SourceError."""
        ...

    def request_key_frame(self) -> None:
        """Makes the next picture a key frame if this source encodes it. Never raises and never waits."""
        ...

    async def close(self) -> None:
        """Ends all background work. Idempotent."""
        ...
