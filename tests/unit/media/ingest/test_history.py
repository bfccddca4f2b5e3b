"""History: what it keeps, against a model that keeps everything, and what a new viewer can start with."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sfu.media.formats.rtp import Packet
from sfu.media.ingest.history import History

FRAME = 3000
START = 0x20000


def packet(index: int, media_time: int = 0, *, key: bool = False, marker: bool = False, size: int = 100) -> Packet:
    made = Packet(marker, 96, index & 0xFFFF, media_time, 1, bytes(size))
    made.index, made.key = index, key
    return made


def frames(lengths: list[int], *, keys: tuple[int, ...] = (0,), size: int = 100) -> list[Packet]:
    """Frames of so many packets, of which those named begin with a key packet."""
    made: list[Packet] = []
    for number, length in enumerate(lengths):
        for at in range(length):
            key = at == 0 and number in keys
            made.append(
                packet(START + len(made), number * FRAME, key=key, marker=at == length - 1, size=size),
            )
    return made


def kept(received: list[Packet], **limits: float) -> History:
    history = History(**limits)  # type: ignore[arg-type]
    for at, each in enumerate(received):
        history.add(each, at / 300)
    return history


def test_a_new_viewer_gets_all_since_the_latest_key_frame() -> None:
    packets = frames([5, 2, 2, 4, 2, 1], keys=(0, 3))
    history = kept(packets)
    assert history.start() is packets[9]
    assert history.since_key() == packets[9:]


def test_a_key_frame_that_is_still_arriving_can_be_started_with() -> None:
    packets = frames([5, 2, 4], keys=(0, 2))
    assert kept(packets[:9]).since_key() == packets[7:9]


def test_parameter_sets_in_packets_of_their_own_come_first() -> None:
    packets = frames([2, 6], keys=(1,))
    packets[4].key = True  # SPS, PPS, IDR: the second is not flagged
    assert kept(packets).start() is packets[2]


def test_a_stream_may_begin_with_parameter_sets() -> None:
    packets = frames([6, 2])
    packets[2].key = True
    assert kept(packets).since_key() == packets


def test_a_late_parameter_set_comes_first() -> None:
    packets = frames([2, 6], keys=(1,))
    packets[4].key = True
    history = kept([*packets[:2], *packets[3:]])
    history.add(packets[2], 1.0)
    assert history.since_key() == packets[2:]


def test_a_lost_parameter_set_is_missed_if_earlier_key_frames_had_one() -> None:
    packets = frames([3, 2, 3], keys=(0, 2))
    packets[1].key = packets[6].key = True
    assert kept(packets).since_key() == packets[5:]
    history = kept([*packets[:5], *packets[6:]])
    assert history.start() is None
    history.add(packets[5], 1.0)
    assert history.since_key() == packets[5:]


def test_what_left_before_the_key_frame_is_not_missed() -> None:
    packets = frames([2] * 500, keys=(400,))
    packets[1].key = packets[801].key = True
    history = kept(packets, packets=0, seconds=0.0)
    assert history.get(START + 799) is None
    assert history.since_key() == packets[800:]


def test_without_parameter_sets_the_packet_before_a_key_frame_may_be_lost() -> None:
    packets = frames([3, 2, 3], keys=(0, 2))
    assert kept([*packets[:4], *packets[5:]]).since_key() == packets[5:]


@pytest.mark.parametrize("lost", [6, 7, 8])
def test_a_key_frame_with_a_hole_cannot_be_started_with_until_it_is_filled(lost: int) -> None:
    packets = frames([5, 4, 3, 2], keys=(0, 1))
    history = kept([each for each in packets if each is not packets[lost]])
    assert history.start() is None
    assert history.since_key() == []
    assert history.add(packets[lost], 1.0)
    assert history.since_key() == packets[5:]


def test_a_hole_after_the_key_frame_is_passed_on() -> None:
    packets = frames([5, 4, 3, 2])
    rest = [each for each in packets if each is not packets[5]]
    assert kept(rest).since_key() == rest


def test_nothing_is_known_before_the_first_key_frame() -> None:
    history = kept(frames([5, 2, 2], keys=()))
    assert (history.start(), history.since_key()) == (None, [])


def test_clearing_forgets_everything() -> None:
    packets = frames([5, 2, 2])
    history = kept(packets)
    history.clear()
    assert (history.start(), history.since_key(), history.get(START), history.bytes) == (None, [], None, 0)
    assert history.add(packets[0], 2.0)
    assert history.since_key() == packets[:1]


def test_a_duplicate_is_not_kept_twice() -> None:
    packets = frames([5, 2, 2])
    history = kept(packets)
    before = history.bytes
    assert not any(history.add(packet(each.index, each.media_time), 1.0) for each in packets)
    assert history.bytes == before
    assert all(history.get(each.index) is each for each in packets)


def test_a_packet_older_than_all_that_is_kept_is_not_kept() -> None:
    packets = frames([3] * 1000, keys=())
    history = kept(packets)
    before = history.bytes
    assert history.get(packets[10].index) is None
    assert not history.add(packets[10], 10.0)
    assert history.bytes == before


def test_a_long_interval_between_key_frames_is_kept_whole() -> None:
    packets = frames([3] * 1200)  # 12 s
    assert kept(packets).since_key() == packets


def test_a_key_frame_pushed_out_by_the_bound_is_gone_until_the_next() -> None:
    packets = frames([10] * 100, keys=(0, 90), size=1000)
    history = kept(packets[:900], max_bytes=400_000)
    assert history.since_key() == []
    assert history.get(packets[899].index) is packets[899]
    for each in packets[900:]:
        history.add(each, 4.0)
    assert history.since_key() == packets[900:]


def test_nothing_is_kept_longer_for_a_key_frame_that_left() -> None:
    packets = frames([10] * 300, size=1000)
    history = kept(packets, max_bytes=2_000_000)
    assert history.bytes <= 1640 * (512 + 128)


def test_a_bound_below_one_packet_keeps_none() -> None:
    history = kept(frames([3] * 10), max_bytes=0)
    assert (history.bytes, history.since_key()) == (0, [])


def test_the_estimate_is_that_of_all_that_is_kept() -> None:
    packets = frames([4] * 2000, keys=tuple(range(0, 2000, 50)))
    history = kept(packets)
    each = kept(packets[:1]).bytes
    assert each > 100
    count = sum(history.get(packet.index) is not None for packet in packets)
    assert history.bytes == count * each


def test_what_was_written_for_consumers_is_emptied_a_while_later() -> None:
    packets = frames([4] * 300)
    history = History()
    for at, each in enumerate(packets):
        history.add(each, at / 300)
        each.blocks = {"somebody": (0, 0, each.payload)}
    assert not any(each.blocks for each in packets[:900])


@pytest.mark.parametrize("way", ["get", "since_key", "late"])
def test_what_is_written_when_a_packet_is_taken_out_again_is_emptied_too(way: str) -> None:
    packets = frames([4] * 300)
    history = kept(packets[:700] + packets[701:])
    if way == "late":
        history.add(packets[700], 4.0)
        packets[700].blocks = {"somebody": (0, 0, b"")}
    elif way == "get":
        again = history.get(packets[701].index)
        assert again is not None
        again.blocks = {"somebody": (0, 0, b"")}
    else:
        for each in history.since_key():
            each.blocks = {"somebody": (0, 0, b"")}
    assert any(each.blocks for each in packets)
    for at in range(300):
        history.add(packet(START + 1200 + at), 5.0)
    assert not any(each.blocks for each in packets)


class HistoryMachine(RuleBasedStateMachine):
    """A stream with loss, reordering and duplicates, beside one that remembers everything."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self.least, self.bound = 0.5, 40, 300_000
        self.history = History(seconds=self.seconds, packets=self.least, max_bytes=self.bound)
        self.now = 0.0
        self.next = START
        self.media_time = 0
        self.model: dict[int, Packet] = {}
        self.missing: list[Packet] = []
        self.highest: list[tuple[float, int]] = []
        self.capped = False

    @rule(
        count=st.integers(1, 60),
        key=st.booleans(),
        sets=st.booleans(),
        size=st.sampled_from([0, 100, 1200]),
        lost=st.sets(st.integers(0, 59), max_size=5),
        pause=st.sampled_from([0.0, 0.01, 0.3]),
    )
    def frame(self, count: int, key: bool, sets: bool, size: int, lost: set[int], pause: float) -> None:
        self.now += pause
        self.media_time += FRAME
        for at in range(count):
            starts = key and (at == 0 or (at == 1 and sets))
            each = packet(self.next, self.media_time, key=starts, marker=at == count - 1, size=size)
            self.next += 1
            if at in lost:
                self.missing.append(each)
            else:
                self.add(each)

    @rule(data=st.data())
    def late(self, data: st.DataObject) -> None:
        if self.missing:
            self.add(self.missing.pop(data.draw(st.integers(0, len(self.missing) - 1))))

    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        if self.model:
            index = data.draw(st.sampled_from(sorted(self.model)[-100:]))
            assert not self.history.add(packet(index, size=50), self.now)

    @rule(by=st.sampled_from([500, 70_000]))
    def jump(self, by: int) -> None:
        self.next += by

    @rule()
    def clear(self) -> None:
        self.history.clear()
        self.model.clear()
        self.missing.clear()
        self.highest.clear()
        self.capped = False

    def add(self, each: Packet) -> None:
        before = self.history.bytes
        if not self.history.add(each, self.now):
            assert each.index < max(self.model)
            return
        self.model[each.index] = each
        self.capped |= before + len(each.payload) + 640 > self.bound
        self.highest.append((self.now, max(self.model)))

    def needed(self) -> list[int]:
        """Indexes that must be there, were it not for the bound."""
        old = max([index for at, index in self.highest if at <= self.now - self.seconds], default=-1)
        indexes = sorted(self.model)
        floor = min([indexes[-self.least :][0], *[index for index in indexes if index > old][:1]])
        return [index for index in indexes if index >= min(floor, self.key() or floor)]

    def key(self) -> int | None:
        keys = [each for each in self.model.values() if each.key]
        if not keys:
            return None
        latest = max(keys, key=lambda each: each.index)
        return min(each.index for each in keys if each.media_time == latest.media_time)

    @invariant()
    def it_is_bounded_and_invents_nothing(self) -> None:
        assert 0 <= self.history.bytes <= self.bound
        held = [index for index in self.model if self.history.get(index) is self.model[index]]
        assert all(self.history.get(index) is None for index in self.model if index not in set(held))
        assert self.history.bytes == sum(len(self.model[index].payload) + 640 for index in held)
        if held:
            assert max(held) == max(self.model)
        assert not any(self.history.get(each.index) for each in self.missing)

    @invariant()
    def what_is_needed_is_there(self) -> None:
        if self.model and not self.capped:
            assert all(self.history.get(index) is self.model[index] for index in self.needed())

    @invariant()
    def a_replay_is_the_stream_from_its_latest_key_frame(self) -> None:
        replay = self.history.since_key()
        assert self.history.start() is (replay[0] if replay else None)
        key = self.key()
        if replay:
            assert replay == [self.model[index] for index in sorted(self.model) if key is not None and index >= key]
            own = [each.index for each in replay if each.media_time == replay[0].media_time]
            assert own == list(range(own[0], own[-1] + 1))
        elif key is not None and not self.capped:
            time = self.model[key].media_time
            holes = [each.index for each in self.missing if each.media_time == time]
            assert holes or key - 1 not in self.model


TestHistoryMachine = HistoryMachine.TestCase
TestHistoryMachine.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@given(st.permutations(range(40)))
def test_any_order_gives_the_same(order: list[int]) -> None:
    packets = frames([8] * 5, keys=(0, 3))
    history = History()
    for at in order:
        assert history.add(packets[at], 1.0)
    assert history.since_key() == packets[24:]
