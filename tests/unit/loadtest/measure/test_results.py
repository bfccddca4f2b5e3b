"""Figures of a measurement, and the table and page made of them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.clients.histogram import Histogram
from sfu.loadtest.measure.counts import StreamCounts
from sfu.loadtest.measure.results import Figures, Moment, Result, figures, sample
from sfu.loadtest.measure.status import CamerasStatus, SentCounts, ViewerCounts, ViewersStatus
from sfu.loadtest.measure.usage import Usage
from sfu.loadtest.report.page import page, ticks
from sfu.loadtest.report.table import rows, verdict


def moment(at: float, received: int, cpu: float) -> Moment:
    cameras = CamerasStatus(up=1, failed={}, sent=0, key_frame_requests=0, cpu_seconds=cpu / 10)
    latency = Histogram()
    latency.add(2000)
    viewers = ViewersStatus(
        wanted=3,
        up=2,
        failed={"limit: the room is full": 1},
        counts=StreamCounts(received=received, octets=1000 * received),
        latency=latency,
        join=latency,
        first_packet=latency,
        checked=received // 32,
        corrupt=0,
        dropped=0,
        cpu_seconds=cpu,
    )
    return Moment(at, cameras, viewers, Usage(cpu, 100_000_000))


def measured() -> Figures:
    received = (ViewerCounts(0, StreamCounts(received=1000)), ViewerCounts(0, StreamCounts(received=980, lost=20)))
    before, after = moment(1.0, 500, 1.0), moment(11.0, 2500, 2.0)
    return figures(before, after, latency=after.latency, sent=SentCounts({0: 1000}), received=received)


def test_figures_follow_from_what_the_processes_said() -> None:
    found = measured()
    assert (found.joined, found.failed, found.expected, found.received) == (2, 1, 2000, 1980)
    assert found.delivered == 0.99
    assert (found.server_cpu, found.server_us_per_packet, found.server_rss_mb) == (10.0, 500.0, 100.0)
    assert found.mbit_per_second == 1.6
    assert found.by_requirement()["joined"] == pytest.approx(2 / 3)
    point = sample(moment(1.0, 500, 1.0), moment(2.0, 800, 1.5))
    assert (point.packets_per_second, point.server_cpu, point.p99_ms) == (300, 50.0, 2.0)


def test_nothing_received_is_no_division() -> None:
    nothing = figures(moment(1, 0, 0), moment(2, 0, 0), latency=Histogram(), sent=SentCounts(), received=())
    assert (nothing.delivered, nothing.server_us_per_packet, nothing.latency_p50_ms) == (None, None, None)
    result = Result({}, (nothing,), nothing, limit=0)
    assert verdict(result) == "this machine cannot serve 3 viewers of this camera"
    assert "<svg" in page(result)


def test_the_page_says_everything_and_loads_nothing() -> None:
    found = measured()
    samples = (sample(moment(1, 0, 0), moment(2, 300, 1)), sample(moment(2, 300, 1), moment(3, 600, 1.2)))
    steps = (found, replace(found, viewers=6, delivered=None))
    about = {"cameras": "<1 & only>"}
    result = Result(about, steps, found, 3, samples, [(100.0, 2.0)], [(100.0, 30.0)], ("p99<1ms: 2 ms",))
    text = page(result)
    assert "this machine serves 3 viewers of this camera" in text
    assert "&lt;1 &amp; only&gt;" in text
    assert all(value.split()[0] in text for _, value in rows(result)[1:])
    assert "<script" not in text
    assert "<link" not in text
    assert "p99&lt;1ms" in text


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_are_few_round_and_cover_what_is_drawn(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    assert marks[0] <= low + 1e-6
    assert marks[-1] >= low + span - 1e-6
    assert 2 <= len(marks) <= 8


def _viewers() -> ViewersStatus:
    return ViewersStatus(2, 2, {}, StreamCounts(), Histogram(), Histogram(), Histogram(), 0, 0, 0, 0.0)


def _step(viewers: int, **values: Any) -> Figures:
    zeros: dict[str, Any] = {field.name: 0 for field in fields(Figures)}
    return Figures(**(zeros | {"viewers": viewers, "cameras": 1} | values))


def test_packets_expected_of_a_camera_outside_the_test_are_those_the_server_numbered() -> None:
    cameras = CamerasStatus(up=0, failed={}, sent=0, key_frame_requests=0, cpu_seconds=0)
    moments = [Moment(at, cameras, _viewers(), None) for at in (0.0, 2.0)]
    received = [
        ViewerCounts(None, StreamCounts(received=98, lost=2)),
        ViewerCounts(None, StreamCounts(received=100, lost=-1)),
    ]
    one = figures(*moments, latency=Histogram(), sent=SentCounts(), received=received)
    assert (one.expected, one.received, one.delivered) == (200, 198, 0.99)


@pytest.mark.parametrize(
    ("beyond", "words"),
    [
        ({"viewers_cpu": 80.0}, "this machine serves 100 viewers of this camera"),
        (
            {"viewers_cpu": 95.0},
            "at least 100 viewers of this camera: with more of them the load test itself is too slow",
        ),
        ({"cameras_cpu": 99.0}, "at least 100 viewers"),
        ({"dropped_here": 1}, "at least 100 viewers"),
    ],
)
def test_the_verdict_says_when_the_load_test_itself_was_the_limit(beyond: dict[str, float], words: str) -> None:
    """The step just beyond the limit decides: those far beyond it drown everybody."""
    steps = [_step(100), _step(200, **beyond), _step(400, viewers_cpu=99.0, dropped_here=9)]
    sentence = verdict(Result({}, steps, steps[0], limit=100))
    assert sentence is not None
    assert words in sentence


def test_the_verdict_of_a_search_that_found_no_viewer_served_well() -> None:
    sentence = verdict(Result({}, [_step(10, viewers_cpu=99.0)], _step(10), limit=0))
    assert sentence == "this machine cannot serve 10 viewers of this camera"
