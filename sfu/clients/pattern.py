"""Generated test cameras: a moving picture with a running clock and a beeping tone, encoded once and repeated.

Owns the encoded loops. Cameras with the same look share one; nothing is encoded while a camera runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import lru_cache

import av

from sfu.clients.encode import OPUS_SAMPLES, AudioEncoder, VideoEncoder
from sfu.clients.frames import AUDIO_CLOCK, OPUS, Frame, SourceCounters, h264
from sfu.clients.packetize import ParameterSets

LOOP_SECONDS = 10
_LOOKS = 6
"""Number of different cameras; the seventh looks like the first."""
_KEY_INTERVAL_S = 1.0


class Pattern:
    """A `MediaSource` that repeats one encoded loop, with a key frame each second."""

    live = False

    def __init__(self, number: int = 0, *, width: int = 1280, height: int = 720, rate: int = 30) -> None:
        """`number` selects hue and pitch. Blocks for about 2 s of CPU to encode a new look: call it in a thread."""
        self.codecs = (h264(), OPUS)
        self.counters = SourceCounters()
        self._loop = encoded_loop(number % _LOOKS, width, height, rate)

    async def frames(self) -> AsyncIterator[Frame]:
        """Yields frames without an end; media time grows on when the loop repeats."""
        while True:
            shift = self.counters.passes * LOOP_SECONDS
            for frame in self._loop:
                self.counters.frames += 1
                yield Frame(frame.track, frame.seconds + shift, frame.data, frame.key)
            self.counters.passes += 1

    def request_key_frame(self) -> None:
        """Counts the request: the loop is already encoded."""
        self.counters.requests_ignored += 1

    async def close(self) -> None:
        """Does nothing: the loop is shared."""


@lru_cache(maxsize=_LOOKS)
def encoded_loop(look: int, width: int, height: int, rate: int) -> tuple[Frame, ...]:
    """Returns ten seconds of picture and sound that can be repeated: whole frames, a key frame first."""
    frames = [*_pictures(look, width, height, rate), *_sound(look)]
    return tuple(sorted(frames, key=lambda frame: frame.seconds))


def _pictures(look: int, width: int, height: int, rate: int) -> Iterator[Frame]:
    hue = 360 * look // _LOOKS
    graph = f"testsrc2=size={width}x{height}:rate={rate}:duration={LOOP_SECONDS},hue=h={hue},format=yuv420p"
    encoder = VideoEncoder(width, height, rate, key_interval=_KEY_INTERVAL_S, preset="superfast")
    sets = ParameterSets()
    with av.open(graph, format="lavfi") as container:
        for number, picture in enumerate(container.decode(video=0)):
            for seconds, data, key in encoder.encode(picture, number / rate):
                yield Frame(0, seconds, sets.complete(data), key)


def _sound(look: int) -> Iterator[Frame]:
    # beep_factor adds one short beep a second at a multiple of the tone: people and tests find the second by it
    graph = f"sine=frequency={220 + 55 * look}:beep_factor=4:sample_rate={AUDIO_CLOCK}:samples_per_frame={OPUS_SAMPLES}"
    wanted = LOOP_SECONDS * AUDIO_CLOCK // OPUS_SAMPLES
    encoder = AudioEncoder(bit_rate=48_000)
    packets: list[bytes] = []
    with av.open(graph, format="lavfi") as container:
        for number, samples in enumerate(container.decode(audio=0)):
            packets += [data for _, data, _ in encoder.encode(samples, number * OPUS_SAMPLES / AUDIO_CLOCK)]
            if len(packets) >= wanted:
                break
    for number, data in enumerate(packets[:wanted]):
        yield Frame(1, number * OPUS_SAMPLES / AUDIO_CLOCK, data, key=True)
