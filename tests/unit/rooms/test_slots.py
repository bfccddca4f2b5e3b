"""The fill rule, as a person sees it who watches a wall of cameras."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sfu.rooms.senders import Sender, Track
from sfu.rooms.slots import Selection, SlotSpec, Wall
from sfu.signaling.topics import Leaf, Role
from tests.helpers.media_tracks import H264, VP8, audio, video, windows

AV = (video(), audio())


class Viewing:
    """One viewer of `site` and the producers below it."""

    def __init__(self, specs: Sequence[SlotSpec] = ()) -> None:
        self.wall = Wall(Leaf("site", Role.VIEW, "me"))
        self.producers: dict[Leaf, Sender] = {}
        self.wall.set_specs(specs, self.producers)

    def sends(self, peer: str, *tracks: Track, room: str = "site", role: Role = Role.PUB) -> None:
        leaf = Leaf(room, role, peer)
        producer = self.producers.get(leaf) or Sender(leaf, "")
        producer.set_tracks(tracks)
        self.producers[leaf] = producer
        if not tracks:
            del self.producers[leaf]
        self.wall.settle(self.producers, producer)

    def selects(self, mid: str, peer: str | None, room: str | None = "site", track: str | None = None) -> None:
        self.wall.select(mid, Selection(peer, room, track), self.producers)

    def negotiates(self, specs: Sequence[SlotSpec]) -> None:
        self.wall.set_specs(specs, self.producers)

    @property
    def shown(self) -> str:
        """Like `v1=cam.v a1=cam.a v2=- a2=(away)`."""
        words = []
        for state in self.wall.states:
            here = f"{state.source.peer}.{state.source.track}" if state.source else "-" * (state.reason is None)
            words.append(f"{state.mid}={here}" + (f"({state.reason})" if state.reason else ""))
        return " ".join(words)


def test_cameras_fill_windows_in_order_of_arrival() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    viewing.sends("three", *AV)
    assert viewing.shown == "v1=one.v a1=one.a v2=two.v a2=two.a"


def test_cameras_that_were_first_fill_a_viewer_that_comes_later() -> None:
    viewing = Viewing()
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    viewing.negotiates(windows(2))
    assert viewing.shown == "v1=one.v a1=one.a v2=two.v a2=two.a"


def test_the_longest_waiting_camera_takes_a_window_that_becomes_free() -> None:
    viewing = Viewing(windows(2))
    for peer in ("one", "two", "three", "four"):
        viewing.sends(peer, *AV)
    viewing.sends("one")
    assert viewing.shown == "v1=three.v a1=three.a v2=two.v a2=two.a"


def test_sound_and_picture_of_one_camera_share_a_window_whichever_flows_first() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("one", audio())
    viewing.sends("two", video())
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    assert viewing.shown == "v1=one.v a1=one.a v2=two.v a2=two.a"


def test_a_silent_camera_leaves_its_sound_slot_to_nobody_else() -> None:
    viewing = Viewing(windows(1))
    viewing.sends("silent", video())
    viewing.sends("radio", audio())
    assert viewing.shown == "v1=silent.v a1=-"


def test_cameras_that_return_get_their_own_windows_back_while_those_are_free() -> None:
    viewing = Viewing(windows(3))
    for peer in ("one", "two", "three"):
        viewing.sends(peer, *AV)
    viewing.sends("one")
    viewing.sends("two")
    assert viewing.shown == "v1=- a1=- v2=- a2=- v3=three.v a3=three.a"
    viewing.sends("two", *AV)
    viewing.sends("one", *AV)
    assert viewing.shown == "v1=one.v a1=one.a v2=two.v a2=two.a v3=three.v a3=three.a"


def test_a_new_camera_takes_a_free_window_and_the_one_that_returns_takes_another() -> None:
    viewing = Viewing(windows(3))
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    viewing.sends("one")
    viewing.sends("new", *AV)
    viewing.sends("one", *AV)
    assert viewing.shown == "v1=new.v a1=new.a v2=two.v a2=two.a v3=one.v a3=one.a"


def test_a_viewer_of_sound_alone_hears_everyone_and_lets_pictures_pass() -> None:
    viewing = Viewing(windows(0, 2))
    viewing.sends("silent", video())
    viewing.sends("one", *AV)
    viewing.sends("radio", audio())
    assert viewing.shown == "a1=one.a a2=radio.a"


def test_a_viewer_with_one_sound_slot_keeps_it_for_a_camera_with_sound() -> None:
    viewing = Viewing(windows(3, 1))
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    assert viewing.shown == "v1=one.v a1=one.a v2=two.v v3=-"
    viewing.sends("one")
    viewing.sends("three", *AV)
    assert viewing.shown == "v1=three.v a1=three.a v2=two.v v3=-"


def test_sound_alone_leaves_windows_with_pictures_to_cameras() -> None:
    viewing = Viewing(windows(1, 2))
    viewing.sends("radio", audio())
    viewing.sends("camera", *AV)
    assert viewing.shown == "v1=camera.v a1=camera.a a2=radio.a"


def test_sound_follows_its_picture_into_the_window_that_shows_it() -> None:
    viewing = Viewing(windows(1, 2))
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    viewing.sends("radio", audio())
    assert viewing.shown == "v1=one.v a1=one.a a2=two.a"
    viewing.sends("one")
    assert viewing.shown == "v1=two.v a1=two.a a2=radio.a"


def test_each_lens_of_a_camera_has_a_window_and_its_sound_is_heard_once() -> None:
    viewing = Viewing(windows(3))
    viewing.sends("dual", video("wide"), video("tele"), audio())
    viewing.sends("one", *AV)
    assert viewing.shown == "v1=dual.wide a1=dual.a v2=dual.tele a2=- v3=one.v a3=one.a"


def test_the_lens_that_goes_on_stays_where_it_is() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("dual", video("wide"), video("tele"), audio())
    viewing.sends("dual", video("tele"), audio())
    assert viewing.shown == "v1=- a1=dual.a v2=dual.tele a2=-"


def test_a_second_microphone_takes_no_window_from_a_camera() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("stereo", video(), audio("left"), audio("right"))
    viewing.sends("one", *AV)
    assert viewing.shown == "v1=stereo.v a1=stereo.left v2=one.v a2=one.a"


def test_nobody_sees_itself_on_any_of_its_leaves_but_a_namesake_below() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("me", *AV)
    viewing.sends("me", *AV, role=Role.JOIN)
    assert viewing.shown == "v1=- a1=- v2=- a2=-"
    viewing.sends("me", *AV, room="site/gate")
    assert viewing.shown == "v1=me.v a1=me.a v2=- a2=-"


def test_a_track_that_cannot_be_decoded_is_named_with_the_reason() -> None:
    viewing = Viewing(windows(1, codecs=(VP8,)))
    viewing.sends("camera", video(codec=H264), audio())
    assert viewing.shown == "v1=camera.v(codec) a1=camera.a"
    viewing.sends("camera", video(codec=VP8), audio())
    assert viewing.shown == "v1=camera.v a1=camera.a"
    viewing.negotiates(windows(1, codecs=(H264,)))
    assert viewing.shown == "v1=camera.v(codec) a1=camera.a"


def test_selecting_a_picture_brings_its_sound_and_swaps_the_windows() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    viewing.selects("v1", "two")
    assert viewing.shown == "v1=two.v a1=two.a v2=one.v a2=one.a"


def test_a_peer_selected_twice_is_shown_twice() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("one", *AV)
    viewing.selects("v1", "one")
    viewing.selects("v2", "one")
    assert viewing.shown == "v1=one.v a1=one.a v2=one.v a2=one.a"


def test_a_peer_selected_three_times_is_shown_twice_until_one_of_the_two_is_free() -> None:
    viewing = Viewing(windows(3))
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    for mid in ("v3", "v1", "v2"):
        viewing.selects(mid, "one")
    assert viewing.shown == "v1=one.v a1=one.a v2=(limit) a2=(limit) v3=one.v a3=one.a"
    viewing.selects("v3", "two")
    assert viewing.shown == "v1=one.v a1=one.a v2=one.v a2=one.a v3=two.v a3=two.a"


def test_sixty_three_windows_of_one_camera_show_it_twice() -> None:
    viewing = Viewing(windows(63))
    viewing.sends("one", *AV)
    for number in range(1, 64):
        viewing.selects(f"v{number}", "one")
    assert (viewing.shown.count("one.v"), viewing.shown.count("one.a")) == (2, 2)
    assert viewing.shown.count("(limit)") == 2 * 61
    viewing.sends("one")
    assert viewing.shown.count("(away)") == 2 * 63


def test_a_selected_window_waits_for_its_peer_and_lets_nobody_in() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("one", *AV)
    viewing.selects("v1", "one")
    viewing.sends("one")
    viewing.sends("two", *AV)
    viewing.sends("three", *AV)
    assert viewing.shown == "v1=(away) a1=(away) v2=two.v a2=two.a"
    viewing.sends("one", *AV)
    assert viewing.shown == "v1=one.v a1=one.a v2=two.v a2=two.a"


def test_a_peer_that_was_never_here_can_be_selected_and_is_shown_when_it_comes() -> None:
    viewing = Viewing(windows(1))
    viewing.sends("one", *AV)
    viewing.selects("v1", "late", room=None)
    assert viewing.shown == "v1=(away) a1=(away)"
    viewing.sends("late", *AV, room="site/gate")
    viewing.sends("late")
    viewing.sends("late", *AV, room="site/yard")
    assert viewing.shown == "v1=late.v a1=late.a"
    viewing.sends("late", room="site/gate")
    assert viewing.shown == "v1=(away) a1=(away)", "the first one found is meant for good"


def test_selecting_nobody_empties_the_window_for_good() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("one", *AV)
    viewing.selects("v1", None)
    viewing.sends("two", *AV)
    assert viewing.shown == "v1=- a1=- v2=one.v a2=one.a"


def test_sound_selected_by_its_own_mid_stays_when_the_picture_changes() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    viewing.selects("a1", "two")
    assert viewing.shown == "v1=one.v a1=two.a v2=two.v a2=-"
    viewing.selects("v1", None)
    assert viewing.shown == "v1=- a1=two.a v2=two.v a2=-"


def test_a_selected_track_is_that_track_or_away() -> None:
    viewing = Viewing(windows(1))
    viewing.sends("dual", video("wide"), video("tele"))
    viewing.selects("v1", "dual", track="tele")
    assert viewing.shown == "v1=dual.tele a1=-"
    viewing.sends("dual", video("wide"))
    assert viewing.shown == "v1=(away) a1=-"


def test_a_selected_camera_without_sound_is_not_called_away() -> None:
    viewing = Viewing(windows(1))
    viewing.sends("silent", video())
    viewing.selects("v1", "silent")
    assert viewing.shown == "v1=silent.v a1=-"


@pytest.mark.parametrize("role", [Role.PUB, Role.JOIN])
def test_a_selected_peer_is_found_on_either_leaf_it_sends_from(role: Role) -> None:
    viewing = Viewing(windows(1))
    viewing.selects("v1", "one")
    viewing.sends("one", *AV, role=role)
    assert viewing.shown == "v1=one.v a1=one.a"


def test_a_new_negotiation_keeps_what_its_mids_showed_and_what_they_were_promised() -> None:
    viewing = Viewing(windows(2))
    for peer in ("one", "two", "three"):
        viewing.sends(peer, *AV)
    viewing.selects("v2", "gone")
    viewing.negotiates(windows(3))
    assert viewing.shown == "v1=one.v a1=one.a v2=(away) a2=(away) v3=two.v a3=two.a"
    viewing.negotiates(windows(1))
    assert viewing.shown == "v1=one.v a1=one.a"


def test_sound_leaves_a_window_that_a_new_negotiation_gives_to_another_picture() -> None:
    viewing = Viewing(windows(2))
    viewing.sends("one", *AV)
    viewing.sends("two", *AV)
    viewing.negotiates([spec for spec in windows(2) if spec.mid != "a1"])
    assert viewing.shown == "v1=one.v v2=two.v a2=one.a"
