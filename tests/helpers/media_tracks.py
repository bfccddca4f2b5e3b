"""Codecs, tracks and slots that the tests of rooms share."""

from __future__ import annotations

from sfu.rooms.senders import Track
from sfu.rooms.slots import SlotSpec
from sfu.rtc.sdp.codec import Codec

H264 = Codec("H264", 90000, 1, 102, (("profile-level-id", "42e01f"), ("packetization-mode", "1")))
VP8 = Codec("VP8", 90000, 1, 96)
OPUS = Codec("opus", 48000, 2, 111)


def video(id: str = "v", codec: Codec = VP8) -> Track:  # noqa: A002 - the field's name
    return Track(id, codec)


def audio(id: str = "a") -> Track:  # noqa: A002 - the field's name
    return Track(id, OPUS)


def windows(videos: int, audios: int | None = None, *, codecs: tuple[Codec, ...] = (VP8, H264)) -> list[SlotSpec]:
    """Sections v1, a1, v2, a2, ... as a page offers them; by default as many audios as videos."""
    audios = videos if audios is None else audios
    specs: list[SlotSpec] = []
    for index in range(1, max(videos, audios) + 1):
        if index <= videos:
            specs.append(SlotSpec(f"v{index}", "video", codecs))
        if index <= audios:
            specs.append(SlotSpec(f"a{index}", "audio", (OPUS,)))
    return specs
