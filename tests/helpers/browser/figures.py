"""Figures of a viewer's page over a span of time: freezes, losses, and the age of its pictures.

Owns the arithmetic on two looks at `getStats()` and on the clock in the picture. Pure but for the looks themselves.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Page

from tests.helpers.browser import clocks
from tests.helpers.browser.pages import tiles

TILE = ".tile:not([hidden]) video"


@dataclass(frozen=True, slots=True)
class Look:
    """One viewer's `inbound-rtp` of its picture at `at` (ms of its page), and its pictures' ages until then."""

    at: float
    report: Mapping[str, Any]
    ages: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Span:
    """Between two looks. `frozen` in s, ages and delays in ms, `width` in pixels of the last picture.

    `gap` is the longest time without a picture: Chromium counts a freeze when it is over, one without end never.
    """

    seconds: float
    received: int
    decoded: int
    dropped: int
    freezes: int
    frozen: float
    gap: float
    lost: int
    nacks: int
    plis: int
    retransmitted: int
    jitter_buffer: float
    shown: int
    unreadable: int
    age: float
    age_worst: float
    width: int

    @property
    def frozen_share(self) -> float:
        return self.frozen / self.seconds

    @property
    def row(self) -> str:
        """For a table's line."""
        return " | ".join(
            (
                f"frozen {self.frozen:5.2f} s ({100 * self.frozen_share:5.1f} %) in {self.freezes:3}",
                f"longest gap {self.gap:5.0f} ms",
                f"decoded {self.decoded:5}/{self.received:5}",
                f"lost {self.lost:5} nacks {self.nacks:4} rtx {self.retransmitted:4} plis {self.plis:3}",
                f"buffer {self.jitter_buffer:4.0f} ms",
                f"age p50 {self.age:4.0f} max {self.age_worst:4.0f} ms",
                f"unreadable {self.unreadable}/{self.shown}",
                f"{self.width} px",
            )
        )


async def watch(page: Page) -> None:
    """Begins to read the clock of the first picture on the screen."""
    await page.evaluate(clocks.WATCH, TILE)


async def look(page: Page) -> Look:
    """Returns the figures of the page now; ages of pictures shown since the last call."""
    windows = [tile for tile in await tiles(page) if tile["video"]]
    at, ages = await page.evaluate("[performance.now(), (window.ages ?? []).splice(0)]")
    return Look(at, windows[0]["video"] if windows else {}, [(when, age) for when, age in ages])


def between(before: Look, after: Look) -> Span:
    """Returns the difference of two readings."""

    def grown(name: str) -> Any:
        return after.report.get(name, 0) - before.report.get(name, 0)

    ages = [age for _, age in after.ages if age is not None]
    emitted = grown("jitterBufferEmittedCount")
    return Span(
        seconds=(after.at - before.at) / 1000,
        received=grown("framesReceived"),
        decoded=grown("framesDecoded"),
        dropped=grown("framesDropped"),
        freezes=grown("freezeCount"),
        frozen=grown("totalFreezesDuration"),
        gap=longest_gap([before.at, *shown_at(after), after.at]),
        lost=grown("packetsLost"),
        nacks=grown("nackCount"),
        plis=grown("pliCount"),
        retransmitted=grown("retransmittedPacketsReceived"),
        jitter_buffer=1000 * grown("jitterBufferDelay") / emitted if emitted else 0.0,
        shown=len(after.ages),
        unreadable=len(after.ages) - len(ages),
        age=statistics.median(ages) if ages else float("nan"),
        age_worst=max(ages, default=float("nan")),
        width=after.report.get("frameWidth", 0),
    )


async def span(page: Page, seconds: float) -> Span:
    """The next `seconds` of a page that is watched."""
    before = await look(page)
    await asyncio.sleep(seconds)
    return between(before, await look(page))


def shown_at(look: Look) -> list[float]:
    """When there was a picture that could be read, in ms of the page."""
    return [when for when, age in look.ages if age is not None]


def longest_gap(times: Sequence[float]) -> float:
    """ms from one to the next, at most."""
    return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)
