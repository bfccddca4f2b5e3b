from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.store.directory import DAMAGED, INDEX, Segment, Store
from recorder.store.scratch import SCRATCH
from sfu.signaling.topics import valid_peer, valid_room

DAY_US = 86_400_000_000
START_US = 1_772_600_767_891_000  # 2026-03-04T05:06:07.891Z

_LEVEL = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True)
_ROOM = st.lists(_LEVEL, min_size=1, max_size=4).map("/".join) | st.text(max_size=300)
_PEER = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True) | st.text(max_size=300)
_ANY = st.characters(exclude_categories=())
_WILD = st.text(_ANY, max_size=60) | st.sampled_from(
    ["", ".", "..", "/", "../..", "a/../../b", "con", "a.", "a ", "=", "==", "=41", "=.x", "\0", "\ud800", "~root",
     "pub", "-x", "a/b/c/d/e", "2026-03-04", "x" * 64, "x" * 65, "é" * 100, ".damaged"]
)  # fmt: skip


def _put(store: Store, room: str, peer: str, start_us: int, suffix: str = ".mp4") -> Segment:
    segment = store.new(room, peer, start_us, suffix)
    segment.path.parent.mkdir(parents=True, exist_ok=True)
    segment.path.touch()
    return segment


def test_names_are_those_of_the_contract(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mp4 = store.new("site/gate", "cam-1", START_US + 7, ".mp4")
    assert mp4.path == tmp_path / "site/gate/cam-1/2026-03-04/05-06-07.891Z.mp4"
    assert mp4.start_us == START_US
    assert store.new("a", "b", 0, ".webm").path == tmp_path / "a/b/1970-01-01/00-00-00.000Z.webm"


@given(
    names=st.lists(
        st.tuples(_ROOM | _WILD, _PEER | _WILD, st.integers(0, 4 * DAY_US)), min_size=2, max_size=6, unique=True
    )
)
def test_any_name_stays_inside_and_none_collide(names: list[tuple[str, str, int]]) -> None:
    root = Path("/nowhere/recordings")
    store = Store(root)
    wanted = {(room, peer, start // 1000) for room, peer, start in names}
    segments = [store.new(room, peer, start, ".mp4") for room, peer, start in names]
    assert len({segment.path for segment in segments}) == len(wanted)
    for segment in segments:
        below = segment.path.relative_to(root).parts
        assert 4 <= len(below) <= 7
        for part in below:
            assert part not in {".", ".."}
            assert part[0] not in {".", "~"}
            assert len(part.encode()) <= 240
            assert part.isascii()
            assert part.isprintable()
            assert not set(part) & set('/\\:*?"<>|% ')


@given(room=_ROOM | _WILD, peer=_PEER | _WILD, start_us=st.integers(0, 4_000_000_000_000_000))
def test_a_path_names_its_segment_again(room: str, peer: str, start_us: int) -> None:
    store = Store(Path("/nowhere/recordings"))
    segment = store.new(room, peer, start_us, ".webm")
    found = store.segment(segment.path)
    assert found is not None
    assert (found.start_us, found.path) == (segment.start_us, segment.path)
    if valid_room(room) and valid_peer(peer):
        assert found == segment
    if len(room) < 16:
        assert found.room == room
    if len(peer) < 16:
        assert found.peer == peer


@pytest.mark.parametrize(
    "path",
    [
        "cam/2026-03-04/05-06-07.891Z.mp4",
        "a/cam/2026-03-04/05-06-07.891Z.mkv",
        "a/cam/2026-03-04/05-06-07.891Z.mp4.protected",
        "a/cam/2026-13-04/05-06-07.891Z.mp4",
        "a/cam/26-03-04/05-06-07.891Z.mp4",
        "a/cam/2026-03-04/5-6-7Z.mp4",
    ],
)
def test_other_files_are_no_segments(path: str, tmp_path: Path) -> None:
    assert Store(tmp_path).segment(tmp_path / path) is None
    assert Store(tmp_path / "elsewhere").segment(tmp_path / path) is None


def test_a_taken_name_moves_on(tmp_path: Path) -> None:
    """The clock went back, or two segments began in one millisecond."""
    store = Store(tmp_path)
    first = _put(store, "a", "b", START_US)
    second = _put(store, "a", "b", START_US)
    assert (first.start_us, second.start_us) == (START_US, START_US + 1000)


def test_a_producer_beside_a_sub_room_of_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    outer, inner = _put(store, "a", "b", START_US), _put(store, "a/b", "2026-03-04", START_US)
    assert store.producers() == [("a", "b"), ("a/b", "2026-03-04")]
    assert store.segments("a", "b", 0, START_US + 1) == [outer]
    assert store.segments("a/b", "2026-03-04", 0, START_US + 1) == [inner]
    assert store.producers("a/b") == [("a/b", "2026-03-04")]
    assert store.producers("c") == []


@given(
    starts=st.lists(st.integers(0, 10 * 24 * 60), unique=True, max_size=12),
    edges=st.tuples(*[st.integers(0, 15000)] * 2),
)
def test_a_span_finds_what_may_hold_it(
    starts: list[int], edges: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("span"))
    minute = 60_000_000
    for start in starts:
        _put(store, "a", "b", start * minute)
    since, until = min(edges), max(edges) + 1  # an empty span has no wrong answer
    before = [start for start in starts if start <= since]
    wanted = sorted(start for start in starts if start < until and (start >= since or start == max(before)))
    assert [
        segment.start_us // minute for segment in store.segments("a", "b", since * minute, until * minute)
    ] == wanted


def test_protection_is_a_file_beside(tmp_path: Path) -> None:
    segment = _put(Store(tmp_path), "a", "b", START_US)
    assert not segment.protected
    segment.protect(True)
    segment.protect(True)
    assert segment.protected
    assert segment.path.with_name("05-06-07.891Z.mp4.protected").read_bytes() == b""
    segment.protect(False)
    segment.protect(False)
    assert not segment.protected


def test_deleting_leaves_no_empty_directory(tmp_path: Path) -> None:
    store = Store(tmp_path / "recordings")
    first, second = _put(store, "site/gate", "cam", START_US), _put(store, "site/gate", "cam", START_US + DAY_US)
    other = _put(store, "site", "cam", START_US)
    (first.path.parent / INDEX).write_text("{}")
    store.delete(first)
    assert store.days("site/gate", "cam") == [date(2026, 3, 5)]
    store.delete(second)
    assert sorted(path.name for path in (tmp_path / "recordings/site").iterdir()) == ["cam"]
    store.delete(other)
    assert list(tmp_path.rglob("*.mp4")) == []
    assert (tmp_path / "recordings").is_dir()


def test_our_own_directories_hold_no_recordings(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in (DAMAGED, SCRATCH):
        path = tmp_path / name / "a/b/2026-03-04/05-06-07.891Z.mp4"
        path.parent.mkdir(parents=True)
        path.touch()
    assert list(store.walk()) == []
    assert store.producers() == []


def test_a_directory_that_is_gone_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    assert (store.producers(), list(store.walk()), store.segments("a", "b", 0, DAY_US)) == ([], [], [])


def test_a_day_in_short(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = [store.new("yard", "cam", START_US + minute * 60_000_000, ".mp4") for minute in range(5)]
    for number, segment in enumerate(made):
        segment.path.parent.mkdir(parents=True, exist_ok=True)
        segment.path.write_bytes(bytes(number))
    made[0].protect(True)
    (made[0].path.parent / INDEX).write_bytes(b"{}")
    (day,) = store.days("yard", "cam")
    assert store.summary("yard", "cam", day) == ([made[0], made[3], made[4]], 10)
    assert store.summary("yard", "nobody", day) == ([], 0)
    for segment in made[1:]:
        store.delete(segment)
    assert store.summary("yard", "cam", day) == (made[:1], 0)
