"""Transport-wide feedback: written and read back, with the draft's own examples, and any bytes give an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats import rtcp
from sfu.media.formats.transport_cc import MAX_PACKETS, TransportFeedback, read_arrivals, write_arrivals
from tests.helpers.rtp_packets import PLI, U8, U16, U32, rtcp_packet

SMALL = st.integers(0, 255)
LARGE = st.integers(-0x8000, 0x7FFF)
RUNS = st.tuples(st.one_of(st.none(), SMALL, LARGE), st.integers(1, 40)).map(lambda run: [run[0]] * run[1])
DELTAS = st.one_of(
    st.lists(st.one_of(st.none(), SMALL, LARGE), min_size=1, max_size=80),
    st.lists(RUNS, min_size=1, max_size=20).map(lambda runs: [delta for run in runs for delta in run]),
)
FEEDBACK = st.builds(
    TransportFeedback,
    media_ssrc=U32,
    base=U16,
    count=U8,
    reference_time_ms=st.integers(0, (1 << 24) - 1).map(lambda periods: periods * 64),
    deltas=DELTAS.map(tuple),
)


def body(packets: int, rest: str) -> bytes:
    return b"\0\0\0\5" + b"\0\1" + packets.to_bytes(2, "big") + b"\0\0\2\7" + bytes.fromhex(rest)


def deltas(packets: int, rest: str) -> tuple[int | None, ...] | None:
    feedback = read_arrivals(body(packets, rest))
    return None if feedback is None else feedback.deltas


@given(U32, FEEDBACK)
def test_what_is_written_is_read_back(sender: int, feedback: TransportFeedback) -> None:
    data = rtcp.transport_feedback(sender, feedback)
    assert len(data) % 4 == 0
    assert data[4:8] == sender.to_bytes(4, "big")
    assert rtcp.parse(data + PLI) == [feedback, *rtcp.parse(PLI)]


@given(DELTAS)
def test_chunks_take_no_more_than_two_bytes_for_seven_packets(deltas: list[int | None]) -> None:
    size = len(write_arrivals(TransportFeedback(1, 2, 3, 0, tuple(deltas)))) - 12
    size -= sum(0 if delta is None else 1 if 0 <= delta <= 255 else 2 for delta in deltas)
    assert size <= 2 * -(-len(deltas) // 7)


def test_the_head_is_as_the_draft_draws_it() -> None:
    feedback = TransportFeedback(0x01020304, 0x0506, 0x0A, 0x070809 * 64, (5,))
    assert write_arrivals(feedback) == bytes.fromhex("01020304 0506 0001 070809 0a 2001 05")


def test_the_drafts_examples_of_chunks_are_read() -> None:
    lost: list[int | None] = [None]
    come: list[int | None] = [0]
    assert deltas(221, "00dd") == tuple(lost * 221)
    assert deltas(24, "2018" + "00" * 24) == tuple(come * 24)
    assert deltas(14, "9f1c" + "00" * 8) == tuple(lost + come * 5 + lost * 3 + come * 3 + lost * 2)
    assert deltas(7, "c550" + "000000" + "0000") == tuple(lost + come * 4 + lost * 2)


def test_vectors_and_runs_may_reach_beyond_the_last_packet() -> None:
    assert deltas(2, "bfff" + "0102") == (1, 2)
    assert deltas(2, "3fff" + "0102") == (1, 2)


def test_large_deltas_have_a_sign() -> None:
    assert deltas(2, "4002" + "8000" + "7fff") == (-0x8000, 0x7FFF)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        body(1, "2001 01")[:11],
        body(0, "0000"),
        body(2, "2001 01"),  # too few chunks
        body(2, "2002 01"),  # too few deltas
        body(1, "4001 01"),  # half a delta
        body(1, "6001 0101"),  # the reserved symbol
        body(3, "0000 0000 0000"),  # runs of nothing
        body(MAX_PACKETS + 1, "1fff 1fff"),
        body(0xFFFF, "1fff" * 9),
    ],
)
def test_a_malformed_message_is_none(data: bytes) -> None:
    assert read_arrivals(data) is None
    padded = data + bytes(-len(data) & 3)
    assert rtcp.parse(rtcp_packet(205, 15, bytes(4) + padded) + PLI)[-1:] == rtcp.parse(PLI)


@given(st.binary(max_size=100), st.integers(0, 0xFFFF))
def test_any_bytes_give_an_answer_of_bounded_size(rest: bytes, packets: int) -> None:
    feedback = read_arrivals(body(packets, "") + rest)
    assert feedback is None or len(feedback.deltas) == packets <= MAX_PACKETS


@given(st.binary(max_size=60))
def test_any_bytes_at_all_give_an_answer(data: bytes) -> None:
    assert isinstance(read_arrivals(data), TransportFeedback | None)
