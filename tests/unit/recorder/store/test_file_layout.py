"""Both parsers of structure: mp4 and webm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recorder.segments.muxer import Muxer
from recorder.store import mp4, webm
from recorder.store.file_layout import LOST, FileLayout, ReadBytes
from tests.helpers.media import make_file
from tests.helpers.recordings import muxed, tracks_of, units

Parse = Callable[[ReadBytes, int], FileLayout]
_CASES: dict[str, tuple[Parse, str | None, bool]] = {
    "h264+opus": (mp4.layout, "H264", True),
    "h264": (mp4.layout, "H264", False),
    "opus": (mp4.layout, None, True),
    "vp8+opus": (webm.layout, "VP8", True),
}


def _read(data: bytes) -> ReadBytes:
    return lambda at, size: data[at : at + size]


@functools.cache
def _recorded(case: str) -> tuple[Parse, bytes, tuple[int, ...]]:
    """A parser, a file for it, and the lengths at which its parts end."""
    parse, codec, audio = _CASES[case]
    muxer = Muxer(tracks_of(codec, audio=audio), start_us=0, title="")
    parts = [part for part in muxed(muxer, units(codec, audio=audio)) if part]
    return parse, b"".join(parts), tuple(sum(map(len, parts[: count + 1])) for count in range(len(parts)))


@pytest.mark.parametrize("case", _CASES)
def test_every_truncation_keeps_the_whole_parts(case: str) -> None:
    parse, data, _ = _recorded(case)
    whole = parse(_read(data), len(data))
    assert whole.end == len(data)
    ends = [part.offset + part.size for part in whole.parts]
    for size in {*range(0, len(data), 997), *range(2000), *(end + shift for end in ends for shift in range(-40, 40))}:
        cut = data[:size]
        found = parse(_read(cut), len(cut))
        kept = [end for end in ends if end <= size]
        assert len(found.parts) == len(kept)
        assert kept[-1:] == [found.end][: len(kept)] or found.end == len(cut)


@pytest.mark.parametrize("case", _CASES)
@given(at=st.integers(0, 1 << 20), value=st.binary(max_size=40))
@example(at=0, value=bytes(8))
@example(at=1300, value=b"\xff" * 40)
def test_damaged_bytes_are_a_shorter_file_at_most(case: str, at: int, value: bytes) -> None:
    parse, data, _ = _recorded(case)
    at %= len(data)
    bent = data[:at] + value + data[at + len(value) :]
    found = parse(_read(bent), len(bent))
    assert 0 <= found.end <= len(bent)


@pytest.mark.parametrize("parse", [mp4.layout, webm.layout])
@given(data=st.binary(max_size=400))
def test_any_bytes_give_an_answer(parse: Parse, data: bytes) -> None:
    assert parse(_read(data), len(data)).end <= len(data)


@pytest.mark.parametrize("parse", [mp4.layout, webm.layout])
@pytest.mark.parametrize("data", [b"", bytes(4096), b"\xff" * 4096])
def test_nothing_zeros_and_ones_are_lost(parse: Parse, data: bytes) -> None:
    assert parse(_read(data), len(data)) == LOST


def test_parts_of_silence_and_sound_say_whether_a_decoder_can_start() -> None:
    parse, data, _ = _recorded("opus")
    assert {part.key for part in parse(_read(data), len(data)).parts} == {True}
    plain = tuple(unit._replace(key=index == 0) for index, unit in enumerate(units("H264", audio=False)))
    data = b"".join(muxed(Muxer(tracks_of("H264", audio=False), start_us=0, title=""), plain))
    keys = [part.key for part in mp4.layout(_read(data), len(data)).parts]
    assert keys == [True, False, False, False]


def test_a_progressive_file_is_whole_or_lost(tmp_path: Path) -> None:
    data = make_file(tmp_path / "file.mp4", seconds=2.0).read_bytes()
    found = mp4.layout(_read(data), len(data))
    assert found.parts == ()
    assert found.end == len(data)
    assert found.duration_us == pytest.approx(2_000_000, abs=30_000)
    assert mp4.layout(_read(data[:-1]), len(data) - 1) == LOST
