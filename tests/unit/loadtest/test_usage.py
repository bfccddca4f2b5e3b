"""CPU and memory of processes, and what a load test's page makes of results."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sfu.clients.histogram import Histogram
from sfu.loadtest.measure.counts import StreamCounts
from sfu.loadtest.measure.results import Figures, Moment, Result, figures, sample
from sfu.loadtest.measure.status import CamerasStatus, SentCounts, ViewerCounts, ViewersStatus
from sfu.loadtest.measure.usage import Usage, usage
from sfu.loadtest.report.page import page
from sfu.loadtest.report.table import rows, verdict


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_children_count_too() -> None:
    program = "x = bytearray(50_000_000); print('up', flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        own, whole = usage(child.pid), usage(os.getpid())
        child.communicate("\n")
    assert own is not None
    assert whole is not None
    assert whole.rss_bytes > own.rss_bytes > 50_000_000
    assert whole.cpu_seconds > own.cpu_seconds >= 0


def test_a_process_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert usage(1, proc=tmp_path) is None
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "stat").write_text("1 (odd) name) S junk")
    assert usage(1, proc=tmp_path) is None


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
