"""Duties: the table of modes and words, rooms that contain rooms, a bound on what strangers can make us remember."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.rules import Capture, RecordingConfig, Rule, Rules, Switches
from sfu.settings import RecordingMode, RecordingSettings

ROOMS = ["a", "a/b", "a/b/c", "ab", "d"]


@pytest.mark.parametrize(
    ("mode", "nothing", "on", "off"),
    [
        (RecordingMode.OFF, Capture.NONE, Capture.NONE, Capture.NONE),
        (RecordingMode.ALWAYS, Capture.RECORD, Capture.RECORD, Capture.NONE),
        (RecordingMode.ON_DEMAND, Capture.NONE, Capture.RECORD, Capture.NONE),
        (RecordingMode.EVENT, Capture.PREROLL, Capture.RECORD, Capture.PREROLL),
    ],
)
def test_each_mode_heeds_words_in_its_way(mode: RecordingMode, nothing: Capture, on: Capture, off: Capture) -> None:
    switches = Switches(Rules(Rule(mode, preroll=5.0)))
    assert switches.capture("a") is nothing
    switches.set("a", True)
    assert switches.capture("a") is on
    switches.set("a", False)
    assert switches.capture("a") is off


def test_without_a_pre_roll_there_is_nothing_to_remember() -> None:
    assert Switches(Rules(Rule(RecordingMode.EVENT))).capture("a") is Capture.NONE


@given(st.lists(st.tuples(st.sampled_from(ROOMS), st.booleans())), st.sampled_from(ROOMS))
def test_the_latest_word_for_a_room_or_one_above_it_counts(said: list[tuple[str, bool]], room: str) -> None:
    switches = Switches(Rules())
    for name, on in said:
        switches.set(name, on)
    heard = [on for name, on in said if room == name or room.startswith(f"{name}/")]
    assert switches.capture(room) is (Capture.RECORD if heard and heard[-1] else Capture.NONE)


def test_the_oldest_words_are_forgotten() -> None:
    switches = Switches(Rules(), limit=2)
    for room in ("a", "d", "e"):
        switches.set(room, True)
    assert [switches.capture(room) for room in ("a", "d", "e")] == [Capture.NONE, Capture.RECORD, Capture.RECORD]


def test_a_room_s_settings_hold_below_it_and_lack_nothing_that_stands_above() -> None:
    rooms = {"site": "always segment=1m keep=1d", "site/gate": "preroll=10s keep_bytes=5GB", "lobby": "off"}
    terms = RecordingConfig.of(RecordingSettings.model_validate({"rooms": rooms, "keep": "30d"}))
    assert terms.rules.of("site/gate/north") == Rule(RecordingMode.ALWAYS, 60.0, 10.0)
    assert terms.rules.of("site/yard") == Rule(RecordingMode.ALWAYS, 60.0, 0.0)
    assert terms.rules.of("hall") == Rule(RecordingMode.ON_DEMAND, 600.0, 0.0)
    assert terms.rules.of("lobby").mode is RecordingMode.OFF
    assert terms.policy.age("site/gate") == 86_400
    assert terms.policy.age("hall") == 30 * 86_400
    assert terms.policy.rooms["site/gate"].size == 5_000_000_000


def test_a_name_that_is_no_room_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a room"):
        RecordingConfig.of(RecordingSettings.model_validate({"rooms": {"../etc": "always"}}))
