"""The result of a load test as rows of text, and as a table on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from sfu.loadtest.measure.results import Figures, Result

Row = tuple[str, str]


def rows(result: Result) -> list[Row]:
    """Returns name and value of each figure."""
    figures = result.figures
    return [
        *result.about.items(),
        ("viewers", f"{figures.joined} of {figures.viewers} joined" + _failures(figures)),
        ("offer to connected", _two(figures.join_p50_ms, figures.join_p95_ms)),
        ("offer to first packet", _two(figures.first_packet_p50_ms, figures.first_packet_p95_ms)),
        ("measured for", f"{figures.seconds:.1f} s"),
        ("delivered", _delivered(figures)),
        ("lost, reordered, duplicated", f"{figures.lost:,}, {figures.reordered:,}, {figures.duplicated:,}"),
        ("latency", _latency(figures)),
        ("decrypted and compared" if figures.cameras else "decrypted", _checked(figures)),
        ("server", _server(figures)),
        ("load test", _load(figures)),
    ]


def verdict(result: Result) -> str | None:
    """Returns the result of a search for the limit in one sentence; None if there was no search."""
    if result.limit is None:
        return None
    shown = {0: "this room", 1: "this camera"}.get(result.figures.cameras, "these cameras")
    if result.limit == 0:
        return f"this machine cannot serve {result.steps[-1].viewers} viewers of {shown}"
    if result.limited_by_test:
        return (
            f"this machine serves at least {result.limit} viewers of {shown}: "
            "with more of them the load test itself is too slow"
        )
    return f"this machine serves {result.limit} viewers of {shown}"


def step_rows(result: Result) -> list[tuple[str, ...]]:
    """Returns one row for each step of a search, fewest viewers first, with the columns of `STEP_HEAD`."""
    return [
        (
            str(step.viewers),
            _share(step.delivered),
            _ms(step.latency_p50_ms),
            _ms(step.latency_p99_ms),
            _number(step.server_cpu, " %"),
            _number(step.server_us_per_packet, ""),
            str(step.failed),
        )
        for step in sorted(result.steps, key=lambda step: step.viewers)
    ]


STEP_HEAD = ("viewers", "delivered", "p50", "p99", "server CPU", "us/packet", "failed")


def print_result(result: Result) -> None:
    """Prints the result to stdout."""
    console = Console()
    if result.limit is not None:
        steps = Table(*STEP_HEAD, box=None, header_style="bold")
        for row in step_rows(result):
            steps.add_row(*row)
        console.print(steps)
        console.print()
    table = Table(box=None, show_header=False)
    for name, value in rows(result):
        table.add_row(name, value)
    console.print(table)
    if (sentence := verdict(result)) is not None:
        console.print(f"\n[bold]{sentence}[/bold]")
    for miss in result.missed:
        console.print(f"[red]missed[/red] {miss}", highlight=False)


def _failures(figures: Figures) -> str:
    reasons = [f"{count} {reason}" for reason, count in figures.failures.items()]
    return f", {figures.failed} failed: {'; '.join(reasons)}" if reasons else ""


def _delivered(figures: Figures) -> str:
    return (
        f"{_share(figures.delivered)}: {figures.received:,} of {figures.expected:,} packets, "
        f"{figures.mbit_per_second:,.1f} Mbit/s"
    )


def _latency(figures: Figures) -> str:
    if figures.latency_p50_ms is None:
        return "not measured: packets carry no send time of this machine's clock"
    return f"p50 {_ms(figures.latency_p50_ms)}, p99 {_ms(figures.latency_p99_ms)}, max {_ms(figures.latency_max_ms)}"


def _checked(figures: Figures) -> str:
    return f"{figures.checked:,} packets, {figures.corrupt:,} corrupt"


def _server(figures: Figures) -> str:
    if figures.server_cpu is None:
        return "not measured; give its process id with --pid"
    per_packet = _number(figures.server_us_per_packet, " us per packet")
    return f"{figures.server_cpu:.1f} % of a core, {per_packet}, {_number(figures.server_rss_mb, ' MB')}"


def _load(figures: Figures) -> str:
    dropped = f", {figures.dropped_here:,} packets lost in its own sockets" if figures.dropped_here else ""
    return f"cameras {figures.cameras_cpu:.1f} %, viewers {figures.viewers_cpu:.1f} % of a core{dropped}"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.2f} %"


def _two(p50: float | None, p95: float | None) -> str:
    return f"p50 {_ms(p50)}, p95 {_ms(p95)}"


def _ms(value: float | None) -> str:
    return _number(value, " ms")


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.2f}{unit}"
