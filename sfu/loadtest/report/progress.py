"""Progress of a load test on stderr: a live display on a terminal, else one line for each stage."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sfu.loadtest.measure.results import Moment, Sample


class Progress:
    """A live display of a few lines. A context manager: the display disappears at its end."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, transient=True, refresh_per_second=4)
        self._stage = ""

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def stage(self, text: str) -> None:
        """Shows the name of a new stage."""
        self._stage = text
        if self._console.is_terminal:
            self._live.update(Text(text, style="bold"))
        else:
            self._console.print(text)

    def show(self, moment: Moment, sample: Sample) -> None:
        """Shows the current figures."""
        if self._console.is_terminal:
            self._live.update(_lines(self._stage, moment, sample))


def _lines(stage: str, moment: Moment, sample: Sample) -> Table:
    table = Table.grid(padding=(0, 2))
    viewers = moment.viewers
    failed = sum(viewers.failed.values())
    table.add_row(Text(stage, style="bold"), f"{moment.at:.0f} s")
    table.add_row("viewers", f"{viewers.up} of {viewers.wanted}" + (f", [red]{failed} failed[/red]" if failed else ""))
    table.add_row("received", f"{sample.packets_per_second:,.0f} packets/s, {viewers.counts.lost:,} lost in total")
    table.add_row("latency", f"p50 {_ms(sample.p50_ms)}, p99 {_ms(sample.p99_ms)}")
    server = "" if sample.server_cpu is None else f"server {sample.server_cpu:.0f} %, "
    table.add_row("CPU", f"{server}load test {sample.load_cpu:.0f} % of a core")
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"
