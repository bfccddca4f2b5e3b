"""The answers of playback, compared with a model of the recordings."""

from __future__ import annotations

import fcntl
import itertools
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recorder.playback.export import ExportError
from recorder.playback.hls import HlsFile, playlist
from recorder.playback.queries import Playback
from recorder.store.directory import Segment, Store
from recorder.store.file_layout import FileLayout, Part
from recorder.store.index import layout_of
from sfu.units import parse_rfc3339
from tests.helpers.recordings import START_US, record

SECOND = 1_000_000
DURATION_US = 4_000_000
"""The duration of the video of a segment, in microseconds; its sound lasts some milliseconds longer."""
RATE = 25


class Fetched(NamedTuple):
    """A media segment of a playlist: its file, its bytes, and its start and duration as the playlist has them."""

    name: str
    header: bytes
    data: bytes
    at_us: int
    lasts_us: int


def fetched(playlist: str, store: Store) -> Iterator[Fetched]:
    """Yields the pieces that a player fetches, by the rules of RFC 8216 section 4.3."""
    header, at_us, lasts_us, extent, discontinuity = b"", 0, 0, (0, 0), True
    for line in playlist.splitlines():
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif tag == "#EXT-X-MAP":
            assert discontinuity
            name, size = re.fullmatch(r'URI="media/(.*)",BYTERANGE="(\d+)@0"', value).groups()  # type: ignore[union-attr]
            header, discontinuity = (store.directory / name).read_bytes()[: int(size)], False
        elif tag == "#EXT-X-PROGRAM-DATE-TIME":
            at_us = parse_rfc3339(value)
        elif tag == "#EXTINF":
            lasts_us = round(float(value.rstrip(",")) * SECOND)
        elif tag == "#EXT-X-BYTERANGE":
            extent = tuple(map(int, value.split("@")))  # type: ignore[assignment]
        elif not line.startswith("#"):
            size, offset = extent
            name = line.removeprefix("media/")
            data = (store.directory / name).read_bytes()[offset : offset + size]
            assert len(data) == size
            yield Fetched(name, header, data, at_us, lasts_us)
            at_us += lasts_us


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(bool(packet.size) for packet in container.demux(video=0))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(Store(tmp_path_factory.mktemp("original"))).path


@contextmanager
def recorded(starts: list[int], original: Path, directory: Path) -> Iterator[Store]:
    """A store with copies of the segment, from these seconds after START_US on."""
    store = Store(directory / "store")
    for start in starts:
        segment = store.new("yard", "cam", START_US + start * SECOND, ".mp4")
        segment.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(original, segment.path)
    try:
        yield store
    finally:
        shutil.rmtree(store.directory, ignore_errors=True)


@settings(max_examples=25, deadline=None)
@example(pauses=[6, 6, 5, 4], edges=(725, 1088))
@given(
    pauses=st.lists(st.integers(0, 12), max_size=4),
    edges=st.tuples(st.integers(-200, 1600), st.integers(-200, 1600)).filter(lambda edges: edges[0] != edges[1]),
)
def test_list_playlist_ranges_and_clip_agree_with_a_model(
    pauses: list[int], edges: tuple[int, int], original: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Segments of 4 s with whole seconds between them; a span in 1/25 s, the time of a frame."""
    starts = [4 * number + sum(pauses[: number + 1]) for number in range(len(pauses))]
    directory = tmp_path_factory.getbasetemp() / "playback"
    directory.mkdir(exist_ok=True)
    with recorded(starts, original, directory) as store:
        first, last = sorted(edges)
        model = {start * RATE + frame for start in starts for frame in range(4 * RATE)}
        since_us, until_us = (START_US + frame * SECOND // RATE for frame in (first, last))
        playback = Playback(store)
        _check_listing(playback, store, model, first, last, since_us, until_us)
        _check_playlist(playback, store, model, first, last, since_us, until_us, directory)
        _check_clip(playback, model, first, last, since_us, until_us)


def _check_listing(
    playback: Playback, store: Store, model: set[int], first: int, last: int, since_us: int, until_us: int
) -> None:
    listing = playback.listing("yard", "cam", since_us, until_us)
    if not model:
        assert listing is None
        return
    assert listing is not None
    covered = {
        frame
        for frame in range(first, last)
        for entry in listing.entries
        if entry.span.start_us <= START_US + frame * SECOND // RATE < entry.span.start_us + DURATION_US
    }
    assert covered == model & set(range(first, last))
    for entry in listing.entries:
        found = store.find(entry.name)
        assert found is not None
        assert found.path.stat().st_size == entry.span.size
        assert (entry.writing, entry.protected) == (False, False)
    missing = {
        frame
        for frame in range(first, last)
        for start_us, end_us in listing.gaps
        if start_us <= START_US + frame * SECOND // RATE < end_us
    }
    assert not missing & model
    left = set(range(first, last)) - model - missing
    # Neither lists stretches of less than a second, or the longer sound at a segment's end.
    assert all(not set(range(frame, frame + RATE + 1)) <= left for frame in left)


def _check_playlist(
    playback: Playback,
    store: Store,
    model: set[int],
    first: int,
    last: int,
    since_us: int,
    until_us: int,
    directory: Path,
) -> None:
    text = playback.playlist("yard", "cam", since_us, until_us, url=lambda name: f"media/{name}", now_us=1 << 62)
    if text is None:
        # of the sound's last milliseconds there is no frame
        assert not model & set(range(first, last))
        return
    assert text.endswith("#EXT-X-ENDLIST\n")
    target_us = int(re.search(r"TARGETDURATION:(\d+)", text)[1]) * SECOND  # type: ignore[index]
    shown: set[int] = set()
    files: dict[str, bytes] = {}
    for piece in fetched(text, store):
        assert round(piece.lasts_us / SECOND) * SECOND <= target_us
        files[piece.name] = files.get(piece.name, piece.header) + piece.data
        begin = round((piece.at_us - START_US) * RATE / SECOND)
        shown |= set(range(begin, begin + round(piece.lasts_us * RATE / SECOND))) & model
    assert model & set(range(first, last)) <= shown
    assert min(shown) > first - 3 * RATE, "no more than one segment and its key frame before the span"
    total = 0
    for data in files.values():
        (directory / "piece.mp4").write_bytes(data)
        total += frames(directory / "piece.mp4")
    assert total == len(shown)


def _check_clip(playback: Playback, model: set[int], first: int, last: int, since_us: int, until_us: int) -> None:
    starts = [frame for frame in model if frame <= first and frame % RATE == 0 and frame > first - RATE]
    begun = max(starts) if starts and first in model else first
    if first not in model and first - 1 in model:
        begun = first - RATE  # the sound of the part before lasts some milliseconds longer, and comes with its pictures
    try:
        path = playback.store.directory / "clip"
        assert playback.write_clip(path, "yard", "cam", since_us, until_us) == ".mp4"
        assert frames(path) == len(model & set(range(begun, last)))
    except ExportError:
        assert not model & set(range(first, last))


def test_a_playlist_that_grows_only_adds(tmp_path: Path) -> None:
    """Each state of the playlist is the beginning of the next, whatever parts the file gets."""
    segment = record(Store(tmp_path))
    data = segment.path.read_bytes()
    ends = [part.offset + part.size for part in layout_of(segment.path).parts]
    texts = []
    for end in ends:
        segment.path.write_bytes(data[:end])
        with _locked(segment):
            texts.append(_growing_playlist(tmp_path, recording=True) or "")
    assert texts[0] == ""
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts) if earlier)
    assert "ENDLIST" not in texts[-1]
    between = _growing_playlist(tmp_path, recording=True)
    assert between is not None
    assert between.startswith(texts[-1])
    assert "ENDLIST" not in between, "this file is finished, but another follows"
    ended = _growing_playlist(tmp_path, recording=False)
    assert ended is not None
    assert ended.endswith("#EXT-X-ENDLIST\n")


@contextmanager
def _locked(segment: Segment) -> Iterator[None]:
    with segment.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _growing_playlist(directory: Path, *, recording: bool) -> str | None:
    playback = Playback(Store(directory), recording=lambda _, __: recording)
    return playback.playlist("yard", "cam", START_US, START_US + 60 * SECOND, url=str, now_us=START_US)


def test_key_frames_are_where_playlists_are_cut(tmp_path: Path) -> None:
    """A camera that sends one on demand alone is cut without, every ten seconds or so."""
    parts = [
        Part(100 + 10 * n, 10, n * SECOND, (n + 1) * SECOND, n * SECOND if n in (0, 1, 3, 6) else None)
        for n in range(30)
    ]
    text = playlist(
        [HlsFile("a", START_US, FileLayout.of(100, parts, 400))], START_US, START_US + 60 * SECOND, growing=False
    )
    assert text is not None
    assert re.findall(r"EXTINF:(\d+)", text) == ["3", "3", "10", "10", "4"]
    assert "INDEPENDENT" not in text
    assert "TARGETDURATION:10\n" in text
    # A span that starts in a chunk without a key frame gets the chunks before it, too.
    text = playlist(
        [HlsFile("a", START_US, FileLayout.of(100, parts, 400))], START_US + 28 * SECOND, 1 << 62, growing=False
    )
    assert text is not None
    assert re.findall(r"EXTINF:(\d+)", text) == ["10", "10", "4"]


def test_thumbnails_are_of_the_key_frame_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for codec in ("H264", "VP8"):
        segment = record(store, codec=codec, peer=codec)
        playback = Playback(store)
        found = [playback.thumbnail("yard", codec, START_US + ms * 1000, 64) for ms in (990, 1000, 1900, 3999)]
        assert found[0] != found[1] == found[2] != found[3]
        (segment.path.parent / "picture.jpg").write_bytes(found[0][0])  # type: ignore[index]
        with av.open(str(segment.path.parent / "picture.jpg")) as container:
            (picture,) = container.decode(video=0)
            assert (picture.width, picture.height) == (64, 36)
    assert playback.thumbnail("yard", "H264", START_US - 1000, 64) is None
    assert playback.thumbnail("yard", "H264", START_US + 5 * SECOND, 64) is None
    record(store, codec=None, peer="sound")
    assert playback.thumbnail("yard", "sound", START_US + SECOND, 64) is None
