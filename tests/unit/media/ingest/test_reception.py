"""Feedback: reception statistics as RFC 3550 appendix A computes them, and the ceiling for a producer's bitrate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.formats.rtcp import ReportBlock, parse, receiver_report
from sfu.media.ingest.reception import BitrateBounds, BitrateCeiling, Reception

RATE = 90_000
FRAME = 3000


def feed(reception: Reception, sequences: list[int]) -> ReportBlock:
    for index, sequence in enumerate(sequences):
        reception.received(sequence & 0xFFFF, index * FRAME, index / 30)
    return reception.report(1, len(sequences) / 30)


def test_nothing_received_is_reported_as_nothing() -> None:
    assert Reception(RATE).report(7, 1.0) == ReportBlock(7, 0, 0, 0, 0, 0, 0)


def test_a_steady_stream_has_neither_loss_nor_jitter() -> None:
    assert feed(Reception(RATE), list(range(100))) == ReportBlock(1, 0, 0, 99, 0, 0, 0)


@given(st.integers(0, 0xFFFF), st.integers(1, 400))
def test_the_highest_sequence_number_runs_on_over_wraps(start: int, step: int) -> None:
    block = feed(Reception(RATE), list(range(start, start + 400 * step, step)))
    assert block.highest == start + 399 * step
    assert block.lost == 399 * (step - 1)


def test_loss_is_reported_in_total_and_since_the_last_report() -> None:
    reception = Reception(RATE)
    block = feed(reception, [sequence for sequence in range(100) if sequence % 4])
    assert (block.lost, block.fraction_lost) == (24, 24 * 256 // 99)  # the first one, 0, was not there to be missed
    block = feed(reception, list(range(100, 200)))
    assert (block.lost, block.fraction_lost) == (24, 0)


def test_everything_but_one_lost_still_fits_the_fraction() -> None:
    block = feed(Reception(RATE), [0, 2900])
    assert block.fraction_lost == 255


def test_duplicates_make_the_loss_negative_and_the_fraction_zero() -> None:
    block = feed(Reception(RATE), [1, 2, 2, 3, 3])
    assert (block.lost, block.fraction_lost, block.highest) == (-2, 0, 3)


def test_reordered_packets_are_not_lost() -> None:
    block = feed(Reception(RATE), [1, 2, 4, 3, 6, 5])
    assert (block.lost, block.highest) == (0, 6)


def test_one_stray_packet_is_ignored_and_two_in_a_row_are_a_restart() -> None:
    reception = Reception(RATE)
    assert feed(reception, [1, 2, 30_000, 3]).highest == 3
    block = feed(reception, [30_000, 30_001, 30_002])
    assert (block.highest, block.lost, block.fraction_lost) == (30_002, 0, 0)


def test_jitter_is_the_smoothed_variation_of_transit_in_ticks() -> None:
    reception, expected, before = Reception(RATE), 0.0, 0
    for index in range(200):
        late = 90 * (index % 2) * 5  # every other frame 5 ms late
        reception.received(index, index * FRAME, (index * FRAME + late + 0.5) / RATE)
        expected += (abs(late - before) - expected) / 16
        before = late
    assert reception.report(1, 7.0).jitter == int(expected) == 449


def test_jitter_leaves_out_the_rest_of_a_frame_and_new_timelines() -> None:
    reception = Reception(RATE)
    for index in range(30):
        for part in range(3):
            reception.received(index * 3 + part, index * FRAME, (index * FRAME + part * 300 + 0.5) / RATE)
    reception.received(90, 2_000_000_000, 1.0)
    assert reception.report(1, 1.0).jitter == 0


def test_jitter_survives_the_wrap_of_media_time() -> None:
    reception = Reception(RATE)
    for index in range(100):
        media_time = (0xFFFF_FFFF - 50 * FRAME + index * FRAME) & 0xFFFF_FFFF
        reception.received(index, media_time, (index * FRAME + 0.5) / RATE)
    assert reception.report(1, 4.0).jitter == 0


def test_the_sender_report_comes_back_with_its_age() -> None:
    reception = Reception(RATE)
    reception.received(1, 1, 0.0)
    reception.sender_report(0x1111_2222_3333_4444, 10.0)
    block = reception.report(1, 12.5)
    assert (block.lsr, block.dlsr) == (0x2222_3333, 5 * 0x8000)
    assert reception.report(1, 1e6).dlsr == 0xFFFF_FFFF


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF), st.floats(0, 1e6))), st.floats(0, 1e6))
def test_every_report_can_be_written(packets: list[tuple[int, int, float]], now: float) -> None:
    reception = Reception(RATE)
    for packet in packets:
        reception.received(*packet)
    assert len(parse(receiver_report(1, [reception.report(1, now)], "us"))) == 1


def test_the_ceiling_starts_at_its_maximum_and_stays_without_loss() -> None:
    ceiling = BitrateCeiling(BitrateBounds(150_000, 3_000_000))
    assert ceiling.bitrate == 3_000_000
    assert [ceiling.update(0.0, second) for second in (1.0, 2.0, 3.0)] == [3_000_000] * 3


def test_heavy_loss_lowers_it_by_half_the_loss() -> None:
    ceiling = BitrateCeiling(BitrateBounds(150_000, 3_000_000))
    assert ceiling.update(0.2, 1.0) == 2_700_000
    assert ceiling.update(0.5, 2.0) == 2_025_000


def test_light_loss_lets_it_grow_by_8_percent_a_second() -> None:
    ceiling = BitrateCeiling(BitrateBounds(150_000, 3_000_000))
    ceiling.update(1.0, 0.0)
    assert ceiling.update(0.01, 1.0) == pytest.approx(1_620_000, abs=1)
    assert ceiling.update(0.01, 1.5) == pytest.approx(1_620_000 * 1.08**0.5, abs=1)
    assert ceiling.update(0.05, 9.0) == pytest.approx(1_620_000 * 1.08**0.5, abs=1)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e9))), st.integers(1, 100_000_000))
def test_it_stays_between_floor_and_maximum_whatever_comes(updates: list[tuple[float, float]], maximum: int) -> None:
    ceiling = BitrateCeiling(BitrateBounds(min(150_000, maximum), maximum))
    for loss, now in updates:
        assert min(150_000, maximum) <= ceiling.update(loss, now) <= maximum
