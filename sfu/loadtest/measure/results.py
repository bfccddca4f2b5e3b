"""Results of a load test, computed from the states that its workers report.

Owns ratios, rates and quantiles. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from sfu.clients.histogram import Histogram
from sfu.loadtest.measure.counts import StreamCounts
from sfu.loadtest.measure.status import CamerasStatus, SentCounts, ViewerCounts, ViewersStatus
from sfu.loadtest.measure.usage import Usage

_BUSY_PERCENT = 90.0
"""CPU, of one core, from which a worker process is too slow."""


@dataclass(frozen=True, slots=True)
class Moment:
    """State of the server and both workers, `at` seconds after the start."""

    at: float
    cameras: CamerasStatus
    viewers: ViewersStatus
    server: Usage | None

    @property
    def latency(self) -> Histogram:
        """Returns the latencies since the moment before."""
        return self.viewers.latency


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the plots over time: the interval between two moments."""

    at: float
    viewers: int
    packets_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    server_cpu: float | None
    load_cpu: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one measurement, with the keys of `sfu load --json`.

    Durations in ms, CPU in % of one core. None for figures that could not be measured.
    """

    viewers: int
    joined: int
    failed: int
    failures: Mapping[str, int]
    cameras: int
    seconds: float
    sent: int
    """Packets sent by all cameras."""
    expected: int
    """Packets that viewers should have received: the sum, over all viewers, of the packets their camera sent.

    For cameras that are not part of the test, the packets that the server numbered.
    """
    received: int
    delivered: float | None
    mbit_per_second: float
    lost: int
    reordered: int
    duplicated: int
    checked: int
    corrupt: int
    dropped_here: int
    """Packets lost in the load test's own sockets: more than a few mean that the test, not the server, is too slow."""
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None
    join_p50_ms: float | None
    join_p95_ms: float | None
    first_packet_p50_ms: float | None
    first_packet_p95_ms: float | None
    server_cpu: float | None
    server_us_per_packet: float | None
    server_rss_mb: float | None
    cameras_cpu: float
    viewers_cpu: float

    def by_requirement(self) -> dict[str, float | None]:
        """Returns the figures by their names in `requirements.FIGURES`."""
        return {
            "delivered": self.delivered,
            "joined": self.joined / self.viewers,
            "failed": self.failed,
            "lost": self.lost,
            "reordered": self.reordered,
            "duplicated": self.duplicated,
            "corrupt": self.corrupt,
            "p50": self.latency_p50_ms,
            "p99": self.latency_p99_ms,
            "max": self.latency_max_ms,
            "join_p50": self.join_p50_ms,
            "join_p95": self.join_p95_ms,
            "first_p50": self.first_packet_p50_ms,
            "first_p95": self.first_packet_p95_ms,
            "cpu": self.server_cpu,
            "us_per_packet": self.server_us_per_packet,
            "rss": self.server_rss_mb,
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement, with the histograms of its quantiles."""

    figures: Figures
    latency: Histogram
    join: Histogram
    first_packet: Histogram


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a whole test: its measurements (several when it searched the limit) and its plots' data."""

    about: Mapping[str, str]
    """Description of the test for people, by name."""
    steps: Sequence[Figures]
    figures: Figures
    """The only measurement, or the one with the most viewers that were served well."""
    limit: int | None = None
    """Most viewers that were served well; None if the limit was not searched."""
    samples: Sequence[Sample] = ()
    latency_curve: Sequence[tuple[float, float]] = ()
    join_curve: Sequence[tuple[float, float]] = ()
    missed: Sequence[str] = field(default=())
    """Requirements that were not met, as text."""

    @property
    def limited_by_test(self) -> bool:
        """Returns True if the load test itself had no CPU left, or lost packets, in the first step above the limit."""
        beyond = [step for step in self.steps if self.limit is not None and step.viewers > self.limit]
        if not beyond:
            return False
        first = min(beyond, key=lambda step: step.viewers)
        return max(first.viewers_cpu, first.cameras_cpu) >= _BUSY_PERCENT or first.dropped_here > 0

    def as_json(self) -> dict[str, object]:
        """Returns the object that `sfu load --json` writes: all but the curves over shares."""
        return {
            "about": dict(self.about),
            "figures": asdict(self.figures),
            "limit": self.limit,
            "steps": [asdict(step) for step in self.steps] if self.limit is not None else [],
            "missed": list(self.missed),
            "samples": [asdict(sample) for sample in self.samples],
        }


def figures(
    before: Moment, after: Moment, *, latency: Histogram, sent: SentCounts, received: Sequence[ViewerCounts]
) -> Figures:
    """Returns the figures between two moments; `sent` and `received` are counts between the marks near them."""
    counts = sum((one.counts for one in received), StreamCounts())
    expected = sum(_expected(one, sent) for one in received)
    seconds = after.at - before.at
    viewers = after.viewers
    failed = sum(viewers.failed.values())
    cpu = _cpu(before, after)
    meanwhile = viewers.counts - before.viewers.counts  # over exactly the time that CPU was measured
    return Figures(
        viewers=viewers.wanted,
        joined=viewers.up,
        failed=failed,
        failures=dict(viewers.failed),
        cameras=after.cameras.up,
        seconds=round(seconds, 3),
        sent=sum(sent.packets.values()),
        expected=expected,
        received=counts.received,
        delivered=round(counts.received / expected, 6) if expected else None,
        mbit_per_second=round(meanwhile.octets * 8 / seconds / 1e6, 3),
        lost=max(counts.lost, 0),  # below 0 if packets that were late at the first mark came after it
        reordered=counts.reordered,
        duplicated=counts.duplicated,
        checked=viewers.checked - before.viewers.checked,
        corrupt=viewers.corrupt - before.viewers.corrupt,
        dropped_here=viewers.dropped - before.viewers.dropped,
        latency_p50_ms=latency.quantile_ms(0.5),
        latency_p99_ms=latency.quantile_ms(0.99),
        latency_max_ms=latency.max_us / 1000 if latency.count else None,
        join_p50_ms=viewers.join.quantile_ms(0.5),
        join_p95_ms=viewers.join.quantile_ms(0.95),
        first_packet_p50_ms=viewers.first_packet.quantile_ms(0.5),
        first_packet_p95_ms=viewers.first_packet.quantile_ms(0.95),
        server_cpu=None if cpu is None else _percent(cpu, seconds),
        server_us_per_packet=round(cpu * 1e6 / meanwhile.received, 2)
        if cpu is not None and meanwhile.received
        else None,
        server_rss_mb=None if after.server is None else round(after.server.rss_bytes / 1e6, 1),
        cameras_cpu=_percent(after.cameras.cpu_seconds - before.cameras.cpu_seconds, seconds),
        viewers_cpu=_percent(viewers.cpu_seconds - before.viewers.cpu_seconds, seconds),
    )


def _expected(one: ViewerCounts, sent: SentCounts) -> int:
    """Returns the packets that a viewer should have received."""
    if one.camera is None:
        return one.counts.received + max(one.counts.lost, 0)
    return sent.packets.get(one.camera, 0)


def with_joins(one: Figures, join: Histogram, first_packet: Histogram) -> Figures:
    """Returns the figures with these join times: a step of a search measures the viewers it adds only."""
    return replace(
        one,
        join_p50_ms=join.quantile_ms(0.5),
        join_p95_ms=join.quantile_ms(0.95),
        first_packet_p50_ms=first_packet.quantile_ms(0.5),
        first_packet_p95_ms=first_packet.quantile_ms(0.95),
    )


def sample(before: Moment, after: Moment) -> Sample:
    """Returns the plots' point for the interval between two moments."""
    seconds = max(after.at - before.at, 0.001)
    cpu = _cpu(before, after)
    load = sum(
        later.cpu_seconds - earlier.cpu_seconds
        for earlier, later in ((before.cameras, after.cameras), (before.viewers, after.viewers))
    )
    return Sample(
        at=round(after.at, 2),
        viewers=after.viewers.up,
        packets_per_second=round((after.viewers.counts - before.viewers.counts).received / seconds, 1),
        p50_ms=after.latency.quantile_ms(0.5),
        p99_ms=after.latency.quantile_ms(0.99),
        server_cpu=None if cpu is None else _percent(cpu, seconds),
        load_cpu=_percent(load, seconds),
    )


def _cpu(before: Moment, after: Moment) -> float | None:
    """Returns the seconds of CPU that the server used; None if unknown."""
    if before.server is None or after.server is None:
        return None
    return after.server.cpu_seconds - before.server.cpu_seconds


def _percent(cpu_seconds: float, seconds: float) -> float:
    return round(100 * cpu_seconds / seconds, 1)
