"""The result of a load test as one HTML page without external files: figures, and plots drawn by pygal. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

import pygal
from pygal.style import Style

from sfu.loadtest.measure.results import Result, Sample
from sfu.loadtest.report.table import STEP_HEAD, rows, step_rows, verdict

Points = Sequence[tuple[float, float | None]]

_SERIES = ("var(--first)", "var(--second)", "var(--third)")
_SCRIPT = re.compile(r"<script.*?</script>", re.DOTALL)
"""Settings for pygal's own script, which is left out: the page must work as a mail attachment."""
_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="var(--text)",
    foreground_strong="var(--text)",
    foreground_subtle="var(--faint)",
    guide_stroke_color="var(--line)",
    major_guide_stroke_color="var(--line)",
    guide_stroke_dasharray="0",
    major_guide_stroke_dasharray="0",
    colors=_SERIES,
    opacity=".12",
    opacity_hover=".25",
    transition="0s",
    stroke_width="2",
    font_family="system-ui, sans-serif",
    label_font_size=13,
    major_label_font_size=13,
    legend_font_size=14,
    title_font_size=16,
)
_CSS = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1d2430; --faint: #6b7585; --line: #e3e6eb;
  --first: #2563eb; --second: #d9480f; --third: #0f9d76; --bad: #c92a2a; }
@media (prefers-color-scheme: dark) { :root { --page: #11151b; --card: #1a2029; --text: #e6eaf0; --faint: #98a3b3;
  --line: #2b333f; --first: #6ea8fe; --second: #ff9f68; --third: #4fd1a5; --bad: #ff8787; } }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1rem; margin: 0 0 .5rem; }
.verdict { font-size: 1.15rem; margin: 0 0 1.25rem; color: var(--faint); } .missed { color: var(--bad); }
.key { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem; margin: 1rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; min-width: 0; }
.key b { display: block; font-size: 1.4rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
.key span, dt { color: var(--faint); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); gap: 1rem; }
.plots svg { display: block; width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; margin: 0; } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--line); }
section { margin: 1rem 0; } footer { color: var(--faint); margin-top: 2rem; font-size: .85rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
"""


def page(result: Result) -> str:
    """Returns the whole page. It is light or dark according to the reader's system."""
    body = "\n".join((_head(result), _key_figures(result), _plots(result), _steps(result), _all_figures(result)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>sfu load</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_CSS}</style></head>\n<body>{body}\n"
        "<footer>Made by <code>sfu load</code>. If the synthetic cameras and viewers run on the server's machine, "
        "they share its CPU.</footer></body></html>\n"
    )


def _head(result: Result) -> str:
    figures = result.figures
    words = verdict(result) or f"{figures.joined} viewers of {result.about.get('cameras', 'a camera')}"
    missed = "".join(f'<p class="missed">missed: {escape(miss)}</p>' for miss in result.missed)
    return f'<h1>Load test</h1><p class="verdict">{escape(words)}</p>{missed}'


def _key_figures(result: Result) -> str:
    figures = result.figures
    shown = (
        ("delivered", "-" if figures.delivered is None else f"{100 * figures.delivered:.2f} %"),
        ("latency p50", _ms(figures.latency_p50_ms)),
        ("latency p99", _ms(figures.latency_p99_ms)),
        ("join p95", _ms(figures.join_p95_ms)),
        ("CPU per packet", _optional(figures.server_us_per_packet, " us")),
        ("server memory", _optional(figures.server_rss_mb, " MB")),
    )
    cards = (f'<div class="card"><span>{escape(name)}</span><b>{value}</b></div>' for name, value in shown)
    return f'<div class="key">{"".join(cards)}</div>'


def _plots(result: Result) -> str:
    charts = (*_over_time(result.samples), *_over_shares(result), *_over_viewers(result))
    return f'<div class="plots">{"".join(charts)}</div>'


def _over_time(samples: Sequence[Sample]) -> Iterable[str]:
    yield _plot("Viewers over time (s)", {"connected": [(s.at, float(s.viewers)) for s in samples]}, fill=True)
    yield _plot("Packets per second over time (s)", {"packets/s": [(s.at, s.packets_per_second) for s in samples]})
    latency: dict[str, Points] = {
        "p50": [(s.at, s.p50_ms) for s in samples],
        "p99": [(s.at, s.p99_ms) for s in samples],
    }
    yield from _plot_if_measured("Latency (ms) over time (s)", latency)
    cpu: dict[str, Points] = {"load test": [(s.at, s.load_cpu) for s in samples]}
    if any(s.server_cpu is not None for s in samples):
        cpu = {"server": [(s.at, s.server_cpu) for s in samples], **cpu}
    yield _plot("CPU (% of one core) over time (s)", cpu)


def _over_shares(result: Result) -> Iterable[str]:
    if result.latency_curve:
        yield _plot("Latency (ms) by % of packets", {"at most": result.latency_curve}, fill=True)
    if result.join_curve:
        yield _plot("Time from offer to connected (ms) by % of viewers", {"at most": result.join_curve}, fill=True)


def _over_viewers(result: Result) -> Iterable[str]:
    if len(result.steps) < 2:
        return
    steps = sorted(result.steps, key=lambda step: step.viewers)
    delivered = [(s.viewers, None if s.delivered is None else 100 * s.delivered) for s in steps]
    least = min((y for _, y in delivered if y is not None), default=0.0)
    yield _plot("Delivered (%) by viewers", {"delivered": delivered}, floor=math.floor(least) - 1)
    latency: dict[str, Points] = {
        "p50": [(s.viewers, s.latency_p50_ms) for s in steps],
        "p99": [(s.viewers, s.latency_p99_ms) for s in steps],
    }
    yield from _plot_if_measured("Latency (ms) by viewers", latency)


def _plot_if_measured(title: str, series: dict[str, Points]) -> Iterable[str]:
    """Yields one card, or none if nothing was measured."""
    if any(y is not None for points in series.values() for _, y in points):
        yield _plot(title, series)


def _plot(title: str, series: dict[str, Points], *, fill: bool = False, floor: float = 0) -> str:
    """Returns one card with lines over a common x axis; the y axis starts at `floor`."""
    xs = [x for points in series.values() for x, y in points if y is not None]
    ys = [y for points in series.values() for _, y in points if y is not None]
    chart = pygal.XY(
        style=_STYLE,
        width=640,
        height=300,
        js=[],
        show_dots=False,
        fill=fill,
        show_legend=len(series) > 1,
        legend_at_bottom=True,
        legend_box_size=12,
        show_x_guides=False,
        show_y_guides=True,
        margin=8,
        value_formatter=_tick,
        x_value_formatter=_tick,
        x_labels=[x for x in ticks(0, max(xs, default=1)) if x <= max(xs, default=1)],
        y_labels=ticks(floor, max(ys, default=floor + 1)),
        range=(floor, max(ticks(floor, max(ys, default=floor + 1)))),
    )
    for name, points in series.items():
        chart.add(name, [(x, y) for x, y in points if y is not None])
    drawing = _SCRIPT.sub("", chart.render(is_unicode=True, disable_xml_declaration=True))
    return f'<div class="card"><h2>{escape(title)}</h2>{drawing}</div>'


def _steps(result: Result) -> str:
    if result.limit is None:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in STEP_HEAD)
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in step_rows(result))
    return (
        f'<section class="card"><table><tr>{head}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></section>'
    )


def _all_figures(result: Result) -> str:
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows(result))
    return f'<section class="card"><dl>{"".join(pairs)}</dl></section>'


def ticks(low: float, high: float) -> list[float]:
    """Returns four to eight round numbers at equal distances, from `low` or less to `high` or more."""
    high = max(high, low + 0.01)  # a plot of equal values has an axis too
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"


def _ms(value: float | None) -> str:
    return _optional(value, " ms")


def _optional(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.{0 if value >= 1000 else 1}f}{unit}"
