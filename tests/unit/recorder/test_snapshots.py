from __future__ import annotations

import asyncio
import logging

import pytest

from recorder.playback import picture
from recorder.playback.picture_size import PictureError
from recorder.snapshots import Busy, NoCamera, NoPicture, Snapshot, SnapshotError, Snapshots
from sfu.clients import packetize
from sfu.media.formats.nal_units import FAMILIES
from sfu.media.ingest.producer import Producer
from sfu.rtc.sdp.description import VIDEO_ORIENTATION
from tests.helpers.bombs import bomb
from tests.helpers.encodings import ENCODINGS, Encoding, codec
from tests.helpers.forwarding import FakeCamera
from tests.helpers.media import jpeg_size
from tests.helpers.waiting import until


class EncodedCamera(FakeCamera):
    """A camera that sends really encoded frames, the first of them a key frame."""

    def __init__(self, encoding: Encoding, *, marker: bool | None = None) -> None:
        """`marker`: on each packet, or on none; by default on the last one of each frame."""
        super().__init__((codec(encoding.codec),))
        self._marker = marker
        self.frames = [encoding.payloads(data, key) for data, key in encoding.frames()]

    def send(self, frame: int, extensions: dict[int, bytes] | None = None) -> None:
        self.send_packets(frame, 0, len(self.frames[frame]), extensions=extensions)

    def send_packets(
        self, frame: int, first: int, end: int, *, later: int = 0, extensions: dict[int, bytes] | None = None
    ) -> None:
        """Some packets of a frame, sent so many seconds later than it should be; `extensions` of the last one."""
        payloads = self.frames[frame]
        for number in range(first, end):
            self.media_time = frame * 3600 + later * 90_000
            last = number == len(payloads) - 1
            marker = last if self._marker is None else self._marker
            self.packet(payloads[number], marker=marker, extensions=(extensions or {}) if last else {})


def taking(*cameras: FakeCamera, **seconds: float) -> Snapshots:
    """The room is the camera's number."""

    def find(room: str, _: str | None) -> Producer | None:
        return cameras[int(room)].producer if int(room) < len(cameras) else None

    return Snapshots(find, asyncio.get_running_loop().time, **seconds)


VP8 = ENCODINGS["vp8"]


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
async def test_a_key_frame_of_any_codec_becomes_a_picture(encoding: Encoding) -> None:
    camera = EncodedCamera(encoding)
    camera.send(0)
    camera.send(1)
    shot = await taking(camera).take("0")
    assert jpeg_size(shot.full) == (320, 192)
    assert camera.asked == 0


@pytest.mark.parametrize("encoding", ["h264 single units", "h265"])
async def test_a_key_frame_without_parameter_sets_gets_those_that_were_said_before(encoding: str) -> None:
    camera = EncodedCamera(ENCODINGS[encoding])
    family = FAMILIES[ENCODINGS[encoding].codec]
    camera.send(0)
    camera.frames[10] = [payload for payload in camera.frames[10] if family.set_key(payload) is None]
    assert len(camera.frames[10]) < len(camera.frames[0])
    for frame in range(1, 12):
        camera.send(frame)
    assert jpeg_size((await taking(camera).take("0")).full) == (320, 192)
    assert camera.asked == 0


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("marker", [True, False])
async def test_a_marker_on_each_packet_or_none_spoils_no_picture(encoding: Encoding, marker: bool) -> None:
    camera = EncodedCamera(encoding, marker=marker)
    for frame in range(12):
        camera.send(frame)
    shot = await taking(camera).take("0")
    honest = EncodedCamera(encoding)
    for frame in range(12):
        honest.send(frame)
    assert shot == await taking(honest).take("0")
    assert camera.asked == 0


@pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 5, 6, 7, 9])
async def test_a_picture_stands_upright(value: int) -> None:
    camera = EncodedCamera(VP8)
    camera.producer.extensions = {VIDEO_ORIENTATION: 3}
    camera.send(0, {3: bytes((value,))})
    camera.send(1)
    shot = await taking(camera).take("0")
    assert jpeg_size(shot.full) == ((192, 320) if value & 1 else (320, 192))


async def test_a_picture_is_taken_at_most_once_a_second() -> None:
    camera = EncodedCamera(VP8)
    camera.send(0)
    snaps = taking(camera, reuse_s=0.2)
    first, second = await asyncio.gather(snaps.take("0"), snaps.take("0"))
    assert first is second is await snaps.take("0")
    await asyncio.sleep(0.25)
    assert await snaps.take("0") is not first


async def test_an_old_key_frame_is_shown_only_if_no_other_comes() -> None:
    camera = EncodedCamera(VP8)
    camera.send(0)
    snaps = taking(camera, reuse_s=0.0, wait_s=0.2)
    young = await snaps.take("0")
    for frame in range(1, 10):
        camera.send(frame)
    camera.send_packets(11, 0, 1, later=3)
    assert camera.asked == 0
    assert (await snaps.take("0")).full == young.full
    assert camera.asked == 1
    task = asyncio.create_task(taking(camera, wait_s=30.0).take("0"))
    for _ in range(5):  # until it looks for another key frame
        await asyncio.sleep(0)
    last = len(camera.frames[10]) - 1
    camera.send_packets(10, 0, last, later=4)
    await asyncio.sleep(0.1)
    assert not task.done(), "half of a key frame is none"
    camera.send_packets(10, last, last + 1, later=4)
    assert (await task).full != young.full


async def test_only_eight_cameras_are_served_at_once() -> None:
    snaps = taking(*(FakeCamera() for _ in range(9)), wait_s=0.2)
    tasks = [asyncio.create_task(snaps.take(str(number))) for number in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await snaps.take("8")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, SnapshotError) for result in results), "none of them sends anything"
    with pytest.raises(NoCamera):
        await snaps.take("9")


async def test_repeated_requests_take_one_picture() -> None:
    camera = EncodedCamera(VP8)
    camera.send(0)
    snaps = taking(camera)
    sent: list[tuple[str, bytes]] = []
    for _ in range(5):
        snaps.request("0", lambda room, jpeg: sent.append((room, jpeg)))
    snaps.request("7", lambda room, jpeg: sent.append((room, jpeg)))
    await until(lambda: sent)
    assert [room for room, _ in sent] == ["0"]
    await snaps.close()


def test_a_picture_fits_where_it_must() -> None:
    full, small = picture.jpegs_of("VP8", _key_frame(), (320, 192), max_bytes=10_500)
    assert jpeg_size(full) == (320, 192)
    assert jpeg_size(small) == (160, 96)
    assert len(small) <= 10_500 < len(full)
    with pytest.raises(PictureError):
        picture.jpegs_of("VP8", b"nonsense", (0, 0), max_bytes=1)


def _key_frame() -> bytes:
    camera = EncodedCamera(VP8)
    camera.send(0)
    return b"".join(packet.payload[1:] for packet in camera.producer.history.key_frame())


class BombCamera(FakeCamera):
    """A camera whose key frames claim 16000x16000 pixels."""

    def __init__(self) -> None:
        super().__init__((codec("VP8"),))
        self.payloads = packetize.vp8_payloads(bomb("VP8")[0])

    def send(self) -> None:
        self.media_time += 3600
        for number, payload in enumerate(self.payloads):
            self.packet(payload, marker=number == len(self.payloads) - 1)


async def test_a_picture_that_is_too_large_is_refused_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    camera = BombCamera()
    snaps = taking(camera, reuse_s=0.0)
    for _ in range(3):
        camera.send()
        with pytest.raises(NoPicture, match="at most 33177600"):
            await snaps.take("0", "cam")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO] == [
        "no snapshot of 0/cam: the picture claims 256000000 pixels: at most 33177600 (8K) are decoded"
    ]


async def test_closing_ends_what_waits() -> None:
    snaps = taking(FakeCamera())
    task: asyncio.Task[Snapshot] = asyncio.create_task(snaps.take("0"))
    await asyncio.sleep(0)
    await snaps.close()
    with pytest.raises(asyncio.CancelledError):
        await task
