"""Snapshots: the present picture of a camera as JPEG, from its latest key frame.

Owns how often a picture is taken (once a second per camera, however many ask), how many are taken at once, and when a
key frame is too old to be shown. Decodes in threads; never delays a packet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from recorder.capture.tap import stated_orientation
from recorder.depacketize import Depacketizer
from recorder.playback import picture
from recorder.playback.log_once import LogOnce
from recorder.playback.picture_size import PictureError
from sfu.media.formats.rtp import Packet, time_delta
from sfu.media.ingest.producer import Producer
from sfu.rtc.sdp.codec import Codec

_log = logging.getLogger(__name__)

_REUSE_S: Final = 1.0
"""Requests within this time get the same picture."""
_MAX_AGE_S: Final = 2.0
"""An older key frame is shown only if the camera does not send a new one when asked."""
_WAIT_S: Final = 1.0
"""The time that the camera has to send a new one."""
_CHECK_INTERVAL_S: Final = 0.05
_MAX_AT_ONCE: Final = 8
"""Cameras whose pictures are taken at the same time."""
_DECODING_THREADS: Final = 2
"""Pictures that are decoded at the same time: one of 8K takes 200 MB meanwhile."""
_SMALL_BYTES: Final = 60_000
"""The size of a picture in an MQTT message: some brokers accept no more than 64 KiB."""


class SnapshotError(RuntimeError):
    """There is no picture; the message says why."""


class NoCamera(SnapshotError):  # noqa: N818 - it names what is missing
    """No participant sends video there."""


class NoPicture(SnapshotError):  # noqa: N818 - it names what is missing
    """The camera's key frame is damaged, or too large to be decoded."""


class Busy(SnapshotError):  # noqa: N818 - it is a state
    """Too many pictures are being taken at the moment."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A picture as two JPEGs: `full` in full size, `small` to fit into an MQTT message."""

    full: bytes
    small: bytes


class Snapshots:
    """The snapshots of all cameras.

    `find(room, peer)` returns the producer of a camera, or None; peer None means any camera of the room. `clock`: that
    of the event loop, in seconds.
    """

    def __init__(
        self,
        find: Callable[[str, str | None], Producer | None],
        clock: Callable[[], float],
        *,
        reuse_s: float = _REUSE_S,
        wait_s: float = _WAIT_S,
    ) -> None:
        """Requests within `reuse_s` get the same picture; a camera has `wait_s` to send a new key frame."""
        self._find = find
        self._clock = clock
        self._reuse_s = reuse_s
        self._wait_s = wait_s
        self._taken: dict[Producer, tuple[float, asyncio.Task[Snapshot]]] = {}
        self._requested: dict[str, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(_DECODING_THREADS, thread_name_prefix="snapshots")
        self._logged = LogOnce()

    async def take(self, room: str, peer: str | None = None) -> Snapshot:
        """Returns a picture that is less than a second old. Raises SnapshotError if there is none."""
        producer = self._find(room, peer)
        if producer is None:
            raise NoCamera(f"no camera sends to {room}" if peer is None else f"{peer} sends no video to {room}")
        now = self._clock()
        self._taken = {
            other: (at, task)
            for other, (at, task) in self._taken.items()
            if now - at < self._reuse_s or not task.done()
        }
        if producer not in self._taken:
            if sum(not task.done() for _, task in self._taken.values()) >= _MAX_AT_ONCE:
                raise Busy("too many snapshots at once: try again in a moment")
            task = asyncio.create_task(
                self._snapshot(producer, room if peer is None else f"{room}/{peer}"), name=f"snapshot of {room}"
            )
            self._taken[producer] = (now, task)
        return await asyncio.shield(self._taken[producer][1])

    def request(self, room: str, deliver: Callable[[str, bytes], None]) -> None:
        """Takes a picture in the background and passes the room and the small JPEG to `deliver`.

        Ignored while a request for the same room, or too many others, are under way.
        """
        if room not in self._requested and len(self._requested) < _MAX_AT_ONCE:
            task = asyncio.create_task(self._deliver(room, deliver), name=f"snapshot for {room}")
            self._requested[room] = task
            task.add_done_callback(lambda _: self._requested.pop(room, None))

    async def close(self) -> None:
        """Cancels all that are under way."""
        tasks = [*self._requested.values(), *(task for _, task in self._taken.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _deliver(self, room: str, deliver: Callable[[str, bytes], None]) -> None:
        try:
            deliver(room, (await self.take(room)).small)
        except SnapshotError as error:
            _log.debug("no snapshot of %s: %s", room, error)  # anybody may ask, for any room

    async def _snapshot(self, producer: Producer, name: str) -> Snapshot:
        packets: Sequence[Packet] = producer.key_frame()
        if not packets or _age_s(producer) > _MAX_AGE_S:
            packets = await self._next_key_frame(producer) or packets
        if not packets:
            raise SnapshotError("the camera has sent no key frame yet: try again in a moment")
        try:
            loop = asyncio.get_running_loop()
            stating = [(packet, stated_orientation(producer, packet)) for packet in packets]
            return await loop.run_in_executor(self._threads, _decoded, producer.codec, stating)
        except PictureError as error:
            if self._logged.is_new(id(producer)):
                _log.warning("no snapshot of %s: %s", name, error)
            raise NoPicture(str(error)) from error

    async def _next_key_frame(self, producer: Producer) -> Sequence[Packet]:
        """Asks for a key frame and returns its packets when all have arrived; on a timeout those of the latest one."""
        before = producer.history.start()
        deadline = self._clock() + self._wait_s
        producer.request_key_frame(self._clock())
        while self._clock() < deadline:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            if producer.history.start() is not before and (packets := producer.key_frame()):
                return packets
        return producer.key_frame()


def _age_s(producer: Producer) -> float:
    """Returns the seconds of media time since the latest key frame began."""
    packets = producer.history.since_key()
    return time_delta(packets[-1].media_time, packets[0].media_time) / producer.codec.clock_rate if packets else 0.0


def _decoded(codec: Codec, packets: Sequence[tuple[Packet, int | None]]) -> Snapshot:
    """Returns the picture of a key frame's packets, each with the orientation that it states.

    Raises PictureError if it is damaged.
    """
    depacketizer = Depacketizer(codec)
    found = [unit for packet, turned in packets for unit in depacketizer.push(packet, turned)]
    units = [unit for unit in (*found, *depacketizer.flush()) if unit.key]
    if not units:
        raise PictureError("the key frame is damaged")
    unit = units[0]
    known = unit.parameters
    size = (0, 0) if known is None else (known.width, known.height)
    return Snapshot(*picture.jpegs_of(codec.name, unit.data, size, max_bytes=_SMALL_BYTES, turn=unit.orientation))
