"""How far sound and picture of a real Chromium are apart in its recording, in ms: a recording in thirds.

By hand: `python -m tests.benchmarks.flash_and_beep --seconds 120`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playwright.async_api import async_playwright

from tests.browser.conftest import FLAGS
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.flash_and_beep import Offset, offsets, recorded
from tests.helpers.programs import need


def p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def row(name: str, found: Sequence[Offset]) -> str:
    """For people."""
    if not found:
        return f"{name:<8} no beep with a flash"
    sizes = [abs(offset.ms) for offset in found]
    signed = statistics.median(offset.ms for offset in found)
    spread = f"p50 {statistics.median(sizes):.0f} p95 {p95(sizes):.0f} max {max(sizes):.0f} ms"
    return f"{name:<8} {len(found):>4} beeps, flash to beep: {spread} (median {signed:+.0f})"


async def report(seconds: float) -> None:
    """A recording in thirds, and its first ten seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        broker = Mosquitto(need("mosquitto"), Path(scratch))
        try:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=need("chromium"), args=list(FLAGS))
                segments = await recorded(browser, broker.url, Path(scratch) / "recordings", seconds)
                await browser.close()
        finally:
            broker.stop()
        found = offsets(segments)
    spans = {"10 s": (0.0, 10.0)}
    spans |= {name: (n * seconds / 3, (n + 1) * seconds / 3) for n, name in enumerate(("start", "middle", "end"))}
    for name, (since, until_) in spans.items():
        sys.stdout.write(row(name, [offset for offset in found if since <= offset.at < until_]) + "\n")
    sys.stdout.write(f"{row('all', found)}, {len(segments)} segments\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    asyncio.run(report(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
