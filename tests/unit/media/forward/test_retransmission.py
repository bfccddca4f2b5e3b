"""Retransmission: what a viewer may have sent again, against a model and against a flood."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.media.forward.retransmission import Retransmitter

MBIT = 1_000_000
RTT = 0.06


def test_a_lost_key_frame_is_sent_again_at_once() -> None:
    budget = Retransmitter(2.5 * MBIT)
    assert all(budget.allow(sequence, 1200, 0.0, RTT) for sequence in budget.admit(range(100), 0.0)[:80])
    assert (budget.requests, budget.resent, budget.over_budget) == (100, 80, 0)


def test_ten_percent_of_a_stream_is_always_within_budget() -> None:
    budget = Retransmitter(2.5 * MBIT)
    assert all(budget.allow(at & 0xFFFF, 1200, at / 26, RTT) for at in range(26 * 600))
    assert budget.over_budget == 0


def test_a_second_request_within_the_round_trip_is_ignored() -> None:
    budget = Retransmitter(MBIT)
    asked = [(0.0, True), (0.03, False), (0.059, False), (0.061, True), (0.1, False), (0.2, True)]
    assert [budget.allow(7, 1000, now, RTT) for now, _ in asked] == [allowed for _, allowed in asked]
    assert (budget.resent, budget.repeated) == (3, 3)


def test_a_round_trip_of_nothing_is_taken_for_10_ms() -> None:
    budget = Retransmitter(MBIT)
    assert [budget.allow(7, 1000, now, 0.0) for now in (0.0, 0.009, 0.011)] == [True, False, True]


def test_a_flood_gets_half_the_bitrate() -> None:
    budget = Retransmitter(8 * MBIT)
    sent = sum(1000 for at in range(100_000) if budget.allow(at & 0xFFFF, 1000, at / 10_000, RTT))
    assert 0.99 * 0.5 * 10 * MBIT <= sent <= 0.5 * 10 * MBIT + 500_000 + 1000
    assert budget.over_budget + budget.resent == 100_000


def test_a_flood_of_small_packets_gets_a_thousand_a_second() -> None:
    budget = Retransmitter(100 * MBIT)
    sent = sum(budget.allow(at & 0xFFFF, 100, at / 10_000, RTT) for at in range(100_000))
    assert 10_000 <= sent <= 10_500


def test_a_flood_of_requests_is_not_even_looked_at() -> None:
    budget = Retransmitter(MBIT)
    admitted = sum(len(budget.admit(range(1000), at / 1000)) for at in range(10_000))
    assert 50_000 <= admitted + 1 <= 52_001
    assert budget.requests == budget.over_budget + admitted == 10_000_000


def test_a_slow_stream_may_still_lose_a_key_frame() -> None:
    budget = Retransmitter(0)
    assert sum(budget.allow(sequence, 1200, 0.0, RTT) for sequence in range(1000)) == 83


def test_the_budget_follows_the_bitrate() -> None:
    budget = Retransmitter(MBIT)
    assert sum(budget.allow(sequence, 1200, 0.0, RTT) for sequence in range(1000)) == 83
    budget.adapt(80 * MBIT)
    assert sum(budget.allow(sequence, 1200, 1.0, RTT) for sequence in range(1000)) == 500


def test_memory_is_bounded() -> None:
    budget = Retransmitter(100 * MBIT)
    for at in range(0x10000):
        budget.allow(at, 10, at / 500, RTT)
    assert budget.resent == 0x10000
    assert budget.remembered <= 1024


def test_what_was_sent_again_last_is_forgotten_last() -> None:
    budget = Retransmitter(100 * MBIT)
    for at, sequence in enumerate([*range(1024), 0, 1024]):
        assert budget.allow(sequence, 10, at / 500, RTT)
    assert not budget.allow(0, 10, 1026 / 500, RTT)


@settings(max_examples=200)
@given(
    st.floats(0, 100 * MBIT),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1500), st.floats(-0.1, 2.0), st.floats(0, 1.0)), max_size=60),
)
def test_never_twice_in_a_round_trip_and_never_above_the_budget(
    bitrate: float, asked: list[tuple[int, int, float, float]]
) -> None:
    budget = Retransmitter(bitrate)
    now, sent, last = 100.0, 0, dict[int, float]()
    for sequence, size, elapsed, rtt in asked:
        now += elapsed
        if budget.allow(sequence, size, now, rtt):
            assert sequence not in last or now >= last[sequence] + max(rtt, 0.01)
            last[sequence] = now
            sent += size
    forward = sum(max(0.0, elapsed) for _, _, elapsed, _ in asked)
    assert sent <= 1_000_000 + max(10_000.0, bitrate / 16) * forward + 1
    assert budget.resent + budget.repeated + budget.over_budget == len(asked)
