"""What a client may send: key frames and restarts pass, floods are dropped, and who goes on with them is told apart."""

from __future__ import annotations

import pytest

from sfu.media.ingest.allowance import Allowance, SsrcAllowance, bound_bps


class Client:
    """A client, and what it is allowed to send."""

    def __init__(self, limit: int) -> None:
        self.allowance = Allowance(limit)
        self.octets = 0

    def passes(self, octets: int, now: float, count: int = 1) -> bool:
        """True if packets with so many bytes together are not dropped."""
        self.allowance.packets -= count
        if self.allowance.packets < 0 and self.allowance.over(count, self.octets, now):
            return False
        self.octets += octets
        return True

    def sends(self, bps: int, seconds: float, *, start: float = 0.0, size: int = 1150) -> float:
        """Share of what it sends at this bitrate that passes."""
        every = (size + 100) * 8 / bps
        count = int(seconds / every)
        return sum(self.passes(size, start + n * every) for n in range(count)) / count


def test_three_times_what_was_asked_for_passes_and_a_megabit_of_sound() -> None:
    bound = bound_bps(4_000_000, 60_000_000)
    assert bound == 13_000_000
    assert Client(bound).sends(12_900_000, 60.0) == 1.0


def test_who_cannot_be_asked_has_the_limit_of_the_settings() -> None:
    """A file in 4K that goes through without re-encoding, with 20 Mbit/s and a key frame of 3 MB each second."""
    client = Client(bound_bps(None, 60_000_000))
    for second in range(60):
        assert all(client.passes(1200, second) for _ in range(2500))
        assert client.sends(20_000_000, 0.9, start=second + 0.05) == 1.0
    assert not client.allowance.abused(60.0)


@pytest.mark.parametrize("size", [20, 1150])
def test_a_flood_is_cut_to_the_bound_and_is_abuse_after_half_a_minute(size: int) -> None:
    client = Client(13_000_000)
    assert client.sends(124_000_000, 25.0, size=size) == pytest.approx(13 / 124, rel=0.25)
    assert not client.allowance.abused(25.0)
    client.sends(124_000_000, 6.0, start=25.0, size=size)
    assert client.allowance.abused(31.0)


def test_what_is_too_much_now_and_then_is_no_abuse() -> None:
    client = Client(1_000_000)
    for minute in range(10):
        client.sends(50_000_000, 5.0, start=minute * 10.0)
        assert not client.allowance.abused(minute * 10 + 5.0)


def test_a_re_offer_gives_no_second_burst() -> None:
    client = Client(1_000_000)
    assert client.sends(100_000_000, 0.1) == 1.0
    assert client.sends(100_000_000, 1.0, start=0.1) < 0.2
    client.allowance.set(2_000_000)
    assert client.sends(100_000_000, 0.1, start=1.1) < 0.2


def test_new_ssrcs_are_counted_once_and_too_many_in_a_minute_are_told() -> None:
    gone: list[int] = []
    allowance = SsrcAllowance(gone.append)
    for _ in range(1000):
        allowance.met(9, {7}, 0.0)
    assert not allowance.exceeded
    for ssrc in range(1000, 1255):
        allowance.met(ssrc, {7}, 1.0)
    assert not allowance.exceeded
    allowance.met(2000, {7}, 1.0)
    allowance.met(2001, {7}, 1.0)
    assert allowance.exceeded
    assert len(gone) == 258 - 128
    assert 7 not in gone


def test_what_has_a_destination_by_now_is_not_forgotten() -> None:
    gone: list[int] = []
    allowance = SsrcAllowance(gone.append)
    allowance.met(1, set(), 0.0)
    for ssrc in range(2, 200):
        allowance.met(ssrc, {1}, ssrc * 60.0)
    assert 1 not in gone
    allowance.left(1, {1})
    assert 1 not in gone
    allowance.left(1, set())
    assert gone[-1] == 1
