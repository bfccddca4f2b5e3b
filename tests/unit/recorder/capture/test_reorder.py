"""Reordering: every packet that can still be used comes out once, in order, and none is waited for too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.capture.reorder import Arrival, Reorder
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec

REPAIRED = Codec("VP8", 90_000, 1, 96, (), ("nack", "nack pli"))
PLAIN = Codec("opus", 48_000, 2, 111)


def arrival(index: int, now: float = 0.0, codec: Codec = REPAIRED) -> Arrival:
    packet = Packet(False, 96, index & 0xFFFF, 0, 1, b"x")
    packet.index = index
    return Arrival(codec.kind, packet, codec, now)


def pushed(reorder: Reorder, *arrivals: Arrival) -> list[int]:
    return [given.packet.index for each in arrivals for given in reorder.push(each)]


def test_a_packet_that_comes_again_takes_its_place() -> None:
    reorder = Reorder(REPAIRED)
    assert pushed(reorder, arrival(1), arrival(2), arrival(4, 0.01), arrival(5, 0.02), arrival(7, 0.1)) == [1, 2]
    assert pushed(reorder, arrival(3, 0.4)) == [3, 4, 5]
    assert pushed(reorder, arrival(6, 0.5)) == [6, 7]
    assert reorder.late == 0


def test_what_is_asked_for_again_is_waited_for_a_second_and_anything_else_hardly() -> None:
    for codec, wait in ((REPAIRED, 1.05), (PLAIN, 0.1)):
        reorder = Reorder(codec)
        assert pushed(reorder, arrival(1, codec=codec), arrival(3, 5.0, codec)) == [1]
        assert not reorder.expired(5.0 + wait - 0.01)
        assert [given.packet.index for given in reorder.expired(5.001 + wait)] == [3]
        assert pushed(reorder, arrival(2, 7.0, codec)) == []
        assert reorder.late == 1


def test_a_second_hole_is_waited_for_from_its_own_beginning() -> None:
    reorder = Reorder(REPAIRED)
    pushed(reorder, arrival(1, 0.0), arrival(3, 0.0), arrival(5, 0.8))
    assert [given.packet.index for given in reorder.expired(1.1)] == [3]
    assert not reorder.expired(1.8)
    assert [given.packet.index for given in reorder.expired(1.9)] == [5]


def test_a_jump_too_large_to_be_repaired_is_not_waited_for() -> None:
    reorder = Reorder(REPAIRED)
    assert pushed(reorder, arrival(1), arrival(3), arrival(1 << 17)) == [1, 3, 1 << 17]


@given(st.permutations(range(40)), st.sets(st.integers(0, 39)))
def test_whatever_comes_in_time_comes_out_in_order(order: list[int], lost: set[int]) -> None:
    reorder = Reorder(REPAIRED)
    pushed(reorder, arrival(-1))
    came = [index for index in order if index not in lost]
    out = pushed(reorder, *[arrival(index, number / 1000) for number, index in enumerate(came)])
    out += [given.packet.index for given in reorder.flush()]
    assert out == sorted(came)
    assert reorder.late == 0
