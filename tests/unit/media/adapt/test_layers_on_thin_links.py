"""The estimate and the layer choice together, on a model of a link: how soon down, how soon up, and how steady.

Six seeds each, half of them with 2 % random loss and 30 ms of jitter.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from statistics import median

import pytest

from tests.helpers.thin_link import ThinLinkViewer

SEEDS = range(6)
THIN_AT = 20.0


@cache
def stepped(says: str, thin: float) -> list[ThinLinkViewer]:
    """3 Mbit/s, then 400 kbit/s for `thin` seconds, then 3 Mbit/s."""

    def capacity(now: float) -> float:
        return 400_000 if THIN_AT <= now < THIN_AT + thin else 3_000_000

    seconds = THIN_AT + thin + 60
    return [
        ThinLinkViewer(seed, capacity, says, loss=seed % 2 * 0.02, jitter=seed % 2 * 0.03).run(seconds)
        for seed in SEEDS
    ]


@pytest.mark.parametrize(("says", "down"), [("remb", 3.0), ("reports", 4.0)])
def test_down_within_3_s_and_steady_before_and_after(says: str, down: float) -> None:
    """With receiver reports alone it takes one more of them, which come up to 1.5 s apart."""
    runs = stepped(says, 20.0)
    assert max(run.reached(0, THIN_AT, down=True) for run in runs) <= down
    assert not any(run.falls(0.0, THIN_AT) for run in runs)
    assert not any(run.falls(THIN_AT + 40, 200.0) for run in runs)


@pytest.mark.parametrize(("thin", "mid", "most"), [(5.0, 5, 10), (20.0, 8, 16)])
def test_up_soon_after_a_short_thinness(thin: float, mid: float, most: float) -> None:
    """By trial alone: what failed four times in a minute waits 40 s for the next."""
    values = [run.reached(2, THIN_AT + thin) for run in stepped("remb", thin)]
    assert median(values) <= mid
    assert max(values) <= most


@pytest.mark.parametrize("says", ["remb", "reports"])
@pytest.mark.parametrize(
    ("capacity", "layers"),
    [(100_000, {-1}), (300_000, {0}), (400_000, {0}), (900_000, {1}), (1_300_000, {1}), (3_000_000, {2})],
)
def test_on_a_link_that_does_not_change_it_settles(says: str, capacity: int, layers: set[int]) -> None:
    """At most one failed trial in 20 s from the first minute on, and most of the time in the right layer."""
    for seed in range(1):
        run = ThinLinkViewer(seed, lambda now: capacity, says, loss=0.01, jitter=0.02).run(180.0)
        assert len(run.falls(60.0, 180.0)) <= 6
        changes = [(0.0, 2), *run.shown, (180.0, 2)]
        spent = sum(
            max(0.0, end - max(start, 60.0)) for (start, layer), (end, _) in pairwise(changes) if layer in layers
        )
        assert spent >= 0.85 * 120


@pytest.mark.parametrize("says", ["remb", "reports"])
def test_a_single_layer_becomes_a_slide_show_and_a_picture_again(says: str) -> None:
    for seed in range(1):
        run = ThinLinkViewer(
            seed, lambda now: 300_000 if 20 <= now < 40 else 3_000_000, says, layers=(1_000_000,), jitter=0.02
        ).run(110.0)
        assert run.reached(-1, 20.0, down=True) <= 4.0
        assert not run.falls(0.0, 20.0)
        assert run.shown[-1][1] == 0
        assert len(run.falls(20.0, 110.0)) <= 4
