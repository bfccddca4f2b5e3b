"""Runs of packets: taken in together they leave everything as if they had come one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats import rtp
from sfu.media.formats.rtp import Packet
from sfu.media.ingest.producer import Producer
from sfu.rtc.sdp.codec import Codec

VP8 = Codec("VP8", 90_000, 1, 96, feedback=("nack", "nack pli"))
H264 = Codec("H264", 90_000, 1, 97, feedback=("nack",))
KEY, DELTA = b"\x10\x00\x00", b"\x10\x01\x00"

STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 1, 1, 1, 2, 5, 0, -1, -3, 4000]),  # on in numbers
        st.sampled_from([0, 0, 0, 0, 3000, 3000, -3000, 2_000_000]),  # on in media time
        st.sampled_from([KEY, DELTA, DELTA, DELTA, b""]),
        st.sampled_from([96] * 20 + [97, 98]),
        st.sampled_from([7] * 20 + [8]),
        st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.04, 0.6]),  # seconds that pass before it
    ),
    max_size=40,
)


class ObservedProducer:
    """A producer, its requests to its camera, and the packets that it forwarded."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.taken: list[int] = []
        self.producer = Producer("0", (VP8, H264), {}, listener=self)

    def on_key_frame_wanted(self, producer: Producer) -> None:
        self.said.append("key frame")

    def on_missing(self, producer: Producer, sequences: Sequence[int]) -> None:
        self.said.append(tuple(sequences))

    def on_bug(self, producer: Producer) -> None:
        raise  # noqa: PLE0704  # the exception on the way out

    def on_codec(self, producer: Producer) -> None:
        self.said.append(producer.codec.name)

    def state(self) -> dict[str, Any]:
        """Whatever it and its parts remember."""
        producer = self.producer
        parts = (producer, producer.gaps, producer.reception, producer.history, producer.key_frames, producer.times)
        found = {f"{type(part).__name__}.{key}": _plain(value) for part in parts for key, value in vars(part).items()}
        return found | {"said": self.said, "taken": self.taken}


def _plain(value: object) -> object:
    """Numbers rounded, containers of them as lists; of other objects only the type."""
    if isinstance(value, float):
        return round(value, 9)
    if value is None or isinstance(value, int | str | Packet | Codec):
        return value
    if isinstance(value, Mapping):
        return [(key, _plain(each)) for key, each in value.items()]
    return [_plain(each) for each in value] if isinstance(value, Iterable) else type(value).__name__


def arrivals(steps: Sequence[tuple[int, int, bytes, int, int, float]]) -> list[list[tuple[Packet, float]]]:
    """Packets with their times, those of one time together."""
    sequence, media_time, now = 65_500, 0xFFFF_F000, 1.0
    groups: list[list[tuple[Packet, float]]] = [[]]
    for numbers, ticks, payload, payload_type, ssrc, seconds in steps:
        sequence, media_time, now = sequence + numbers & 0xFFFF, media_time + ticks & 0xFFFF_FFFF, now + seconds
        if seconds:
            groups.append([])
        groups[-1].append((Packet(ticks == 0, payload_type, sequence, media_time, ssrc, payload), now))
    return groups


def runs(packets: Sequence[Packet]) -> list[list[Packet]]:
    found: list[list[Packet]] = []
    for packet in packets:
        if found and rtp.follows(packet, found[-1][-1]):
            found[-1].append(packet)
        else:
            found.append([packet])
    return found


@given(STEPS)
def test_a_run_is_no_other_than_its_packets_one_by_one(
    steps: Sequence[tuple[int, int, bytes, int, int, float]],
) -> None:
    alone, together = ObservedProducer(), ObservedProducer()
    for group in arrivals(steps):
        for packet, now in group:
            copy = replace(packet)
            if alone.producer.receive(copy, now):
                alone.taken.append(copy.index)
        now = group[0][1] if group else 0.0
        for run in runs([packet for packet, _ in group]):
            together.taken += [packet.index for packet in together.producer.receive_run(run, now)]
    assert together.state() == alone.state()
