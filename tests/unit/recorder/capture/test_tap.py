"""The tap: what goes into a recording's queue, in the place of what, and how much of it at most."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from recorder.capture.assembly import KnownSets, Report
from recorder.capture.reorder import Arrival
from recorder.capture.tap import EndOfMedia, Feed, Item, Record
from sfu.media.formats.rtp import Packet
from sfu.media.ingest.producer import Producer
from sfu.media.ingest.track import IncomingTrack
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import VIDEO_ORIENTATION, Receive
from tests.helpers.clock import FakeTime
from tests.helpers.forwarding import DELTA, KEY

VP8 = Codec("VP8", 90_000, 1, 96, (), ("nack", "nack pli"))
OPUS = Codec("opus", 48_000, 2, 111)
NEVER = float("-inf")


class RecordedCamera:
    """A track whose layers send a frame a packet, 25 a second, or sound."""

    def __init__(self, codec: Codec = VP8, *rids: str) -> None:
        self.asked = 0
        self.track = IncomingTrack(codec.kind, Receive((codec,), {}, (), None, None, rids=rids), self._producer)
        self.codec = codec
        self._sequence = 0

    def _producer(self, mid: str, receive: Receive) -> Producer:
        return Producer(mid, receive.codecs, receive.extensions, listener=self)

    def on_key_frame_wanted(self, producer: Producer) -> None:
        self.asked += 1

    def on_missing(self, producer: Producer, sequences: Sequence[int]) -> None:
        """Sends nothing again."""

    def on_bug(self, producer: Producer) -> None:
        raise  # noqa: PLE0704  # the exception on the way out

    def on_codec(self, producer: Producer) -> None:
        """Has one codec."""

    def send(
        self,
        now: float,
        payload: bytes = DELTA,
        *,
        rid: str | None = None,
        size: int = 0,
        extensions: dict[int, bytes] | None = None,
    ) -> None:
        self._sequence += 1
        media_time = int(now * self.codec.clock_rate)
        ssrc = 1 + list(self.track.rids).index(rid)
        payload += bytes(size)
        packet = Packet(True, self.codec.payload_type, self._sequence, media_time, ssrc, payload, extensions or {})
        assert self.track.rids[rid].receive(packet, now)


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime(10.0)


@pytest.fixture
def feed(clock: FakeTime) -> Feed:
    return Feed("yard", "cam", clock)


def arrivals(items: list[Item]) -> list[tuple[str, float]]:
    return [(item.kind, round(item.now, 3)) for item in items if isinstance(item, Arrival)]


def test_a_recording_begins_with_the_latest_key_frame_and_the_sound_since(feed: Feed) -> None:
    picture, sound = RecordedCamera(), RecordedCamera(OPUS)
    for step in range(100):
        now = 8.0 + step / 50
        sound.send(now, b"x")
        if step % 2 == 0:
            picture.send(now, KEY if step == 60 else DELTA)
    feed.begin([picture.track, sound.track], since=NEVER)
    taken = arrivals(feed.pop(1000))
    assert taken[0] == ("video", 9.2)
    assert [now for kind, now in taken if kind == "audio"][-39:] == [round(9.22 + n / 50, 3) for n in range(39)]
    assert len(taken) in (59, 60)  # whether 9.2 is after 9.2 is the processor's to say
    assert picture.asked == 0
    picture.send(10.0)
    sound.send(10.0, b"x")
    assert arrivals(feed.pop(1000)) == [("video", 10.0), ("audio", 10.0)]


def test_a_key_frame_that_was_recorded_before_is_not_recorded_again(feed: Feed, clock: FakeTime) -> None:
    picture = RecordedCamera()
    picture.send(5.0, KEY)
    picture.send(9.0)
    feed.begin([picture.track], since=6.0)
    assert arrivals(feed.pop(1000)) == []
    assert picture.asked == 1


def test_sound_alone_begins_with_its_last_second(feed: Feed) -> None:
    sound = RecordedCamera(OPUS)
    for step in range(200):
        sound.send(6.0 + step / 50, b"x")
    feed.begin([sound.track], since=NEVER)
    assert len(arrivals(feed.pop(1000))) == 51


def test_reports_go_the_same_way(feed: Feed) -> None:
    picture = RecordedCamera()
    picture.send(9.0, KEY)
    picture.track.main.note_clock(7 << 32, 810_000, 9.0)
    feed.begin([picture.track], since=NEVER)
    assert feed.pop(1000)[0] == Report("video", 7 << 32, 810_000, 9.0)
    picture.track.main.note_clock(8 << 32, 900_000, 10.0)
    assert feed.pop(1000) == [Report("video", 8 << 32, 900_000, 10.0)]


def test_words_keep_their_place_among_packets_and_nothing_follows_the_end(feed: Feed) -> None:
    picture = RecordedCamera()
    feed.begin([picture.track], since=NEVER)
    picture.send(10.0, KEY)
    feed.record(True)
    picture.send(10.1)
    feed.end("left")
    picture.send(10.2)
    assert [type(item) for item in feed.pop(1000)] == [Arrival, Record, Arrival, EndOfMedia]
    assert picture.track.main.taps == ()


def test_the_better_layer_takes_over_at_a_key_frame_of_its_own_and_the_lower_one_when_it_stalls(
    feed: Feed, clock: FakeTime
) -> None:
    camera = RecordedCamera(VP8, "l", "h")

    def run(since: float, until: float, *rids: str, key: str | None = None) -> list[int]:
        for step in range(int((until - since) * 25)):
            now = clock.now = since + step / 25
            for rid in rids:
                start = KEY if rid == key and step == 0 else DELTA
                camera.send(now, start, rid=rid, size=900 if rid == "h" else 100)
            for producer in camera.track.producers:
                producer.tick(now)
            feed.follow([camera.track])
        return [item.packet.ssrc for item in feed.pop(10_000) if isinstance(item, Arrival)]

    camera.send(10.0, KEY, rid="l")
    feed.begin([camera.track], since=NEVER)
    assert set(run(10.0, 13.0, "l", key="l")) == {1}
    asked = camera.asked
    assert set(run(13.0, 16.0, "l", "h")) == {1}
    assert camera.asked > asked
    assert run(16.0, 17.0, "l", "h", key="h") == [1] + [2] * 25
    assert set(run(17.0, 18.0, "h")) == {2}
    assert run(18.0, 21.0, "l") == []  # the higher one pauses: the lower one is asked for a key frame
    assert run(21.0, 22.0, "l", key="l") == [1] * 25
    assert [len(producer.taps) for producer in camera.track.producers] == [1, 0]


def test_a_queue_that_nobody_empties_has_an_end(feed: Feed) -> None:
    picture = RecordedCamera()
    feed.begin([picture.track], since=NEVER)
    for step in range(20_000):
        picture.send(10.0 + step / 1000, KEY, size=1200)
    assert 4_000 < len(feed.items) < 8_000
    assert feed.dropped == 20_000 - len(feed.items)
    feed.pop(100_000)
    picture.send(40.0)
    assert len(feed.items) == 1


H264 = Codec("H264", 90_000, 1, 96, (), ("nack", "nack pli"))
SETS = [bytes.fromhex("6742c01eda"), bytes.fromhex("68ce3c80")]
IDR = b"\x65\x88\x84\x00"


def test_packets_say_how_the_camera_stands(feed: Feed) -> None:
    picture = RecordedCamera()
    picture.track.main.extensions = {VIDEO_ORIENTATION: 3}
    picture.send(9.9, KEY, extensions={3: b"\x09"})
    feed.begin([picture.track], since=NEVER)
    picture.send(10.0, extensions={3: b"\x02", 4: b"\x01"})
    picture.send(10.1, extensions={4: b"\x01"})
    picture.send(10.2)
    assert [item.turned for item in feed.pop(9) if isinstance(item, Arrival)] == [1, 2, None, None]


def test_parameter_sets_that_were_said_before_stand_before_all_packets(feed: Feed) -> None:
    picture = RecordedCamera(H264)
    for number, payload in enumerate([*SETS, IDR, b"\x61\x88"]):
        picture.send(9.0 + number / 10, payload)
    feed.begin([picture.track], since=NEVER)
    first, *others = feed.pop(1000)
    assert first == KnownSets("video", SETS)
    assert arrivals(others) == [("video", 9.2), ("video", 9.3)]
    picture.send(10.0, IDR)
    assert arrivals(feed.pop(1000)) == [("video", 10.0)]


def test_a_layer_that_takes_over_brings_its_own_parameter_sets(feed: Feed, clock: FakeTime) -> None:
    picture = RecordedCamera(H264, "low", "high")
    picture.send(9.0, IDR, rid="low")
    feed.begin([picture.track], since=NEVER)
    feed.pop(1000)
    for payload in SETS:
        picture.send(9.1, payload, rid="high")
    picture.track.rids["high"].bitrate = 900_000
    picture.track.rids["low"].bitrate = 100_000
    clock.now = 9.2
    feed.follow([picture.track])
    picture.send(9.2, IDR, rid="high")
    assert feed.pop(1000)[0] == KnownSets("video", SETS)
