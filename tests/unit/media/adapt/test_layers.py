"""Layers: down at once, up slowly and by trial, key frames alone on the thinnest links, no more than windows need."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.media.adapt.layers import KEY_FRAMES, LayerChoice, layer_for_window

LAYERS = (150_000, 500_000, 1_700_000)
TICK = 0.1

Link = Callable[[float, int], tuple[int | None, bool]]
"""Returns the estimate and the congestion at a moment, by the layer sent."""


def changes(
    choice: LayerChoice, link: Link, until: float, layers: tuple[int | None, ...] = LAYERS
) -> list[tuple[float, int]]:
    """The layers chosen and when, in a loop that sends what was chosen."""
    found: list[tuple[float, int]] = []
    layer = len(layers) - 1
    for tick in range(int(until / TICK)):
        now = tick * TICK
        estimate, congested = link(now, layer)
        layer = choice.update(estimate, congested, layers, now)
        if not found or found[-1][1] != layer:
            found.append((now, layer))
    return found


def ideal(capacity: Callable[[float], int], layers: tuple[int, ...] = LAYERS) -> Link:
    """A link whose overload is noticed at once and whose head-room never shows."""

    def link(now: float, layer: int) -> tuple[int | None, bool]:
        bitrate = layers[layer] if layer >= 0 else 20_000
        limit = capacity(now)
        return (int(limit * 0.85), True) if bitrate > limit else (min(limit, bitrate), False)

    return link


def thinned(now: float) -> LayerChoice:
    """A viewer whose link has just been found to carry only the lowest layer."""
    choice = LayerChoice()
    choice.update(None, False, LAYERS, now - 10.0)
    assert choice.update(200_000, True, LAYERS, now) == 0
    return choice


def test_a_new_viewer_gets_the_top_layer_and_keeps_it() -> None:
    assert changes(LayerChoice(), lambda now, layer: (None, False), 60.0) == [(0.0, 2)]


def test_a_new_viewer_on_a_link_known_to_be_thin_does_not() -> None:
    assert LayerChoice().update(600_000, False, LAYERS, 5.0) == 1
    assert LayerChoice().update(50_000, False, LAYERS, 5.0) == 0  # it may have had sound alone so far


def test_what_is_wanted_caps_it_and_lifting_the_cap_needs_no_trial() -> None:
    choice = LayerChoice()
    assert choice.update(None, False, LAYERS, 0.0, wanted=0) == 0
    assert choice.update(None, False, LAYERS, 0.1, wanted=1) == 1
    assert choice.update(None, False, LAYERS, 0.2, wanted=9) == 2


def test_wanting_less_than_flows_gets_the_lowest_that_flows() -> None:
    assert LayerChoice().update(None, False, (None, 0, 1_700_000), 0.0, wanted=0) == 2


def test_layers_that_do_not_flow_are_not_chosen() -> None:
    choice = LayerChoice()
    assert choice.update(None, False, (150_000, 500_000, None), 0.0) == 1
    assert choice.update(None, False, (150_000, None, 1_700_000), 0.1) == 2
    assert choice.update(900_000, True, (150_000, None, 1_700_000), 1.0) == 0
    assert choice.update(900_000, False, (None, 500_000, 1_700_000), 1.1) == KEY_FRAMES


def test_while_nothing_flows_it_aims_for_the_top() -> None:
    assert LayerChoice().update(None, False, (None, None, None), 0.0) == 2
    assert LayerChoice().update(None, False, (None, None), 0.0, wanted=0) == 0
    assert LayerChoice().update(None, False, (), 0.0) == 0


@pytest.mark.parametrize(("estimate", "layer"), [(900_000, 1), (499_000, 0), (120_000, 0), (110_000, KEY_FRAMES)])
def test_congestion_lowers_it_at_once_to_what_the_estimate_carries(estimate: int, layer: int) -> None:
    choice = LayerChoice()
    choice.update(None, False, LAYERS, 0.0)
    assert choice.update(estimate, True, LAYERS, 0.1) == layer


def test_congestion_without_an_estimate_lowers_it_by_one_and_lets_the_queue_drain() -> None:
    found = changes(LayerChoice(), lambda now, layer: (None, True), 20.0)
    assert [layer for _, layer in found] == [1, 0, KEY_FRAMES]
    assert all(later - earlier >= 1.4 for (earlier, _), (later, _) in pairwise(found))


def test_an_estimate_below_the_present_layer_lowers_it_without_congestion() -> None:
    choice = LayerChoice()
    choice.update(None, False, LAYERS, 0.0)
    assert choice.update(1_600_000, False, LAYERS, 10.0) == 2  # within what a measured bitrate is off
    assert choice.update(1_400_000, False, LAYERS, 10.1) == 1


def test_it_goes_up_by_trial_without_ever_seeing_head_room() -> None:
    found = changes(thinned(0.0), ideal(lambda now: 3_000_000), 20.0)
    assert [layer for _, layer in found] == [0, 1, 2]
    assert found[1][0] == pytest.approx(2.5, abs=0.2)
    assert found[2][0] == pytest.approx(5.0, abs=0.3)


def test_head_room_that_shows_is_taken_sooner() -> None:
    found = changes(thinned(0.0), lambda now, layer: (3_000_000, False), 20.0)
    assert [layer for _, layer in found] == [0, 2]
    assert found[1][0] < 1.0


def test_the_estimate_of_the_layer_below_does_not_end_a_trial() -> None:
    choice = thinned(0.0)
    assert choice.update(235_000, False, LAYERS, 3.1) == 1
    assert choice.update(235_000, False, LAYERS, 4.0) == 1
    assert choice.update(235_000, False, LAYERS, 7.0) == 0  # by now it would have grown


def test_congestion_that_leaves_room_for_the_layer_is_given_time() -> None:
    found = changes(LayerChoice(), lambda now, layer: (1_800_000, 5 <= now < 6 or now >= 20), 22.0)
    assert [layer for _, layer in found] == [2, 1]
    assert found[1][0] == pytest.approx(21.5, abs=0.2)


def test_failed_trials_double_the_wait_up_to_a_minute() -> None:
    found = changes(thinned(0.0), ideal(lambda now: 400_000), 400.0)
    trials = [now for now, layer in found if layer == 1]
    gaps = [later - earlier for earlier, later in pairwise([0.0, *trials])]
    assert [round(gap) for gap in gaps] == [2, 5, 10, 20, 40, 60, 60, 60, 60, 60]


def test_a_trial_that_holds_resets_the_wait() -> None:
    capacity = {0: 400_000, 1: 3_000_000, 2: 400_000, 3: 3_000_000}
    found = changes(thinned(0.0), ideal(lambda now: capacity[min(3, int(now / 60))]), 240.0)
    again = next(now for now, layer in found if now > 120 and layer == 1)
    assert again == pytest.approx(122.5, abs=0.5)


def test_the_waits_of_two_layers_are_apart() -> None:
    found = changes(thinned(0.0), ideal(lambda now: 400_000 if 100 <= now < 101 else 1_000_000), 106.0)
    assert [layer for _, layer in found][:3] == [0, 1, 2]
    assert (found[-1][1], found[-2][1]) == (1, 0)
    assert found[-1][0] == pytest.approx(103.0, abs=0.5)  # not the wait of the layer above, which failed all along


def test_a_slide_show_is_left_by_trial() -> None:
    one = (800_000,)
    link = ideal(lambda now: 300_000 if 5 <= now < 30 else 2_000_000, one)
    found = changes(LayerChoice(), link, 120.0, one)
    assert found[:2] == [(0.0, 0), (5.0, KEY_FRAMES)]
    assert [layer for now, layer in found if now >= 31] == [0]
    assert found[-1][0] < 60.0


def test_the_lowest_layer_outlasts_a_short_congestion() -> None:
    one = (800_000,)
    link = changes(LayerChoice(), lambda now, layer: (900_000, 5 <= now < 7), 30.0, one)
    assert link == [(0.0, 0)]


bitrates = st.one_of(st.none(), st.integers(-5, 1 << 62))


@given(
    st.lists(
        st.tuples(
            bitrates, st.booleans(), st.lists(bitrates, max_size=4), st.floats(-1.0, 30.0), st.none() | st.integers()
        ),
        max_size=60,
    )
)
def test_whatever_comes_the_choice_flows_and_is_wanted(
    steps: list[tuple[int | None, bool, list[int | None], float, int | None]],
) -> None:
    choice, now = LayerChoice(), 0.0
    for estimate, congested, layers, elapsed, wanted in steps:
        now += elapsed
        layer = choice.update(estimate, congested, layers, now, wanted=wanted)
        flowing = [index for index, bitrate in enumerate(layers) if bitrate and bitrate > 0]
        if not flowing:
            assert 0 <= layer < max(1, len(layers))
            continue
        assert layer == KEY_FRAMES or layer in flowing
        if wanted is not None and wanted >= flowing[0]:
            assert layer <= wanted


SIZES = ((320, 180), (640, 360), (1280, 720))


@pytest.mark.parametrize(
    ("window", "layer"),
    [
        ((160, 90), 0),
        ((320, 180), 0),
        ((640, 360), 1),
        ((380, 213), 0),  # a little enlarged
        ((480, 270), 1),
        ((1280, 180), 0),  # fitted in whole: its height decides
        ((360, 640), 1),  # a phone on end turns the picture, too
        ((1280, 720), 2),
        ((7680, 4320), None),
        ((0, 0), 0),
    ],
)
def test_a_window_gets_the_lowest_layer_that_fills_it(window: tuple[int, int], layer: int | None) -> None:
    assert layer_for_window(window, SIZES) == layer


def test_layers_of_unknown_size_are_passed_over() -> None:
    assert layer_for_window((300, 200), (None, (640, 360), None)) == 1
    assert layer_for_window((300, 200), (None, (0, 0))) is None
    assert layer_for_window((300, 200), ()) is None
