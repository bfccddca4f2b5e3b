"""Key frame requests: coalesced to one per half second, repeated while unanswered, ended by a key frame."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sfu.media.ingest.key_frame_requests import KeyFrameBudget, KeyFrameRequests


def test_the_first_request_is_sent_at_once() -> None:
    requests = KeyFrameRequests()
    assert requests.next_due is None
    assert not requests.due(100.0)
    assert requests.request(100.0)


def test_a_hundred_viewers_make_one_request() -> None:
    requests = KeyFrameRequests()
    assert [requests.request(100.0 + viewer / 1000) for viewer in range(100)] == [True] + [False] * 99
    requests.key_frame(100.1)
    assert requests.next_due is None
    assert not requests.due(110.0)


def test_a_viewer_who_comes_right_after_the_key_frame_is_remembered() -> None:
    requests = KeyFrameRequests()
    requests.request(100.0)
    requests.key_frame(100.1)
    assert not requests.request(100.2)
    assert requests.next_due == 100.5
    assert not requests.due(100.4)
    assert requests.due(100.5)
    assert not requests.due(100.5)


def test_after_the_interval_a_request_is_sent_at_once_again() -> None:
    requests = KeyFrameRequests()
    requests.request(100.0)
    requests.key_frame(100.1)
    assert requests.request(100.5)


def test_an_unanswered_request_is_repeated_ten_times_and_no_more() -> None:
    requests = KeyFrameRequests()
    assert requests.request(0.0)
    assert sum(requests.due(tick / 10) for tick in range(1, 1000)) == 10
    assert requests.next_due is None
    assert requests.request(100.0)
    assert requests.due(100.5)


def test_a_new_viewer_renews_the_repeats() -> None:
    requests = KeyFrameRequests()
    requests.request(0.0)
    assert [requests.due(0.5 * repeat) for repeat in range(1, 10)] == [True] * 9
    assert not requests.request(4.6)
    assert sum(requests.due(4.6 + tick / 10) for tick in range(1000)) == 11  # itself, and ten repeats


def test_a_camera_is_known_to_heed_requests_by_how_soon_key_frames_follow_them() -> None:
    requests = KeyFrameRequests()
    assert not requests.heeded
    requests.key_frame(99.0)
    assert not requests.heeded  # nobody had asked
    requests.request(100.0)
    requests.key_frame(100.2)
    assert requests.heeded
    requests.request(101.0)
    assert requests.due(101.5)
    requests.key_frame(103.9)
    assert not requests.heeded


@given(st.lists(st.tuples(st.sampled_from(["request", "due", "key"]), st.floats(0.0, 0.4)), max_size=60))
def test_whatever_happens_requests_keep_their_distance(steps: list[tuple[str, float]]) -> None:
    requests, now, sent = KeyFrameRequests(), 0.0, []
    for step, elapsed in steps:
        now += elapsed
        if step == "key":
            requests.key_frame(now)
        elif requests.request(now) if step == "request" else requests.due(now):
            sent.append(now)
    assert all(later - earlier >= 0.5 - 1e-9 for earlier, later in pairwise(sent))


def test_a_slot_that_always_wants_one_is_heeded_ever_less_and_later_again() -> None:
    budget = KeyFrameBudget()
    heeded = [at / 1000 for at in range(60_000) if budget.allow(at / 1000)]
    assert 20 <= sum(at < 3 for at in heeded) <= 22
    assert 27 <= sum(at >= 3 for at in heeded) <= 30
    assert sum(budget.allow(120.0 + second) for second in range(10)) == 10
