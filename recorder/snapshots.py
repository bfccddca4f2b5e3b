"""Snapshots: what a camera shows now, as JPEG, from its latest key frame.

Owns how often a camera's picture is taken (once a second, however many ask), how many are taken at once, and when a key
frame is too old to be shown. Decodes in threads; never holds up a packet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.depacketize import Depacketizer
from recorder.playback import picture
from recorder.playback.picture import PictureError
from sfu.media.formats.rtp import Packet, time_delta
from sfu.media.ingest.producer import Producer
from sfu.rtc.sdp.codec import Codec

_log = logging.getLogger(__name__)

_AGAIN: Final = 1.0  # seconds for which a picture is given out again
_OLD: Final = 2.0  # seconds; an older key frame is shown only if the camera does not send another
_WAIT: Final = 1.0  # seconds that it has for that
_LOOK: Final = 0.05
_MOST: Final = 8  # cameras at once
_SMALL: Final = 60_000  # bytes; brokers take 64 KiB, and more than one message shall fit


class SnapshotError(RuntimeError):
    """There is no picture."""


class NoCamera(SnapshotError):  # noqa: N818 - it names what is missing
    """Nobody sends video there."""


class Busy(SnapshotError):  # noqa: N818 - it is a state
    """So many pictures are being taken that this one must wait."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A picture in full, and as a JPEG that fits into an MQTT message."""

    full: bytes
    small: bytes


class Snapshots:
    """`find(room, peer)`: the camera that is meant, None for the peer is any. `clock`: the event loop's, in seconds."""

    def __init__(self, find: Callable[[str, str | None], Producer | None], clock: Callable[[], float]) -> None:
        self._find = find
        self._clock = clock
        self._taken: dict[Producer, tuple[float, asyncio.Task[Snapshot]]] = {}
        self._pressed: dict[str, asyncio.Task[None]] = {}

    async def take(self, room: str, peer: str | None = None) -> Snapshot:
        """The picture of now, or of less than a second ago. SnapshotError."""
        producer = self._find(room, peer)
        if producer is None:
            raise NoCamera(f"no camera sends to {room}" if peer is None else f"{peer} sends no video to {room}")
        now = self._clock()
        self._taken = {
            other: (at, task) for other, (at, task) in self._taken.items() if now - at < _AGAIN or not task.done()
        }
        if producer not in self._taken:
            if sum(not task.done() for _, task in self._taken.values()) >= _MOST:
                raise Busy("other pictures are being taken: try again")
            task = asyncio.create_task(self._shot(producer), name=f"snapshot of {room}")
            self._taken[producer] = (now, task)
        return await asyncio.shield(self._taken[producer][1])

    def press(self, room: str, tell: Callable[[str, bytes], None]) -> None:
        """Takes a picture of the room and tells it with the room; once at a time for each room."""
        if room not in self._pressed and len(self._pressed) < _MOST:
            task = asyncio.create_task(self._press(room, tell), name=f"snapshot for {room}")
            self._pressed[room] = task
            task.add_done_callback(lambda _: self._pressed.pop(room, None))

    async def close(self) -> None:
        """Nobody waits for a picture any more."""
        tasks = [*self._pressed.values(), *(task for _, task in self._taken.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _press(self, room: str, tell: Callable[[str, bytes], None]) -> None:
        try:
            tell(room, (await self.take(room)).small)
        except SnapshotError as error:
            _log.info("no snapshot of %s: %s", room, error)

    async def _shot(self, producer: Producer) -> Snapshot:
        packets: Sequence[Packet] = producer.history.key_frame()
        if not packets or _age(producer) > _OLD:
            packets = await self._fresh(producer) or packets
        if not packets:
            raise SnapshotError("the camera sends no key frame")
        try:
            return await asyncio.to_thread(_developed, producer.codec, packets)
        except PictureError as error:
            raise SnapshotError(str(error)) from error

    async def _fresh(self, producer: Producer) -> Sequence[Packet]:
        """The next key frame, once all of it has come; empty if that takes too long."""
        before = producer.history.start()
        deadline = self._clock() + _WAIT
        producer.request_key_frame(self._clock())
        while self._clock() < deadline:
            await asyncio.sleep(_LOOK)
            if producer.history.start() is not before and (packets := producer.history.key_frame()):
                return packets
        return producer.history.key_frame()


def _age(producer: Producer) -> float:
    """Seconds of media time since the latest key frame began."""
    packets = producer.history.since_key()
    return time_delta(packets[-1].media_time, packets[0].media_time) / producer.codec.clock_rate if packets else 0.0


def _developed(codec: Codec, packets: Sequence[Packet]) -> Snapshot:
    depacketizer = Depacketizer(codec)
    units = [unit for packet in packets for unit in depacketizer.push(packet) if unit.key]
    if not units:
        raise PictureError("the key frame is damaged")
    return Snapshot(*picture.jpegs_of(codec.name, units[0].data, most=_SMALL))
