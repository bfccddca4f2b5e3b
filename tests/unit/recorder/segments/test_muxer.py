from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import av
import pytest

from recorder.segments import webm_index
from recorder.segments.muxer import Muxer, suffix
from recorder.segments.outputs import PART_US, MuxError
from recorder.store import mp4, webm
from recorder.store.directory import Store
from recorder.store.file_layout import FileLayout
from sfu.media.formats import orientation
from tests.helpers.recordings import START_US, Unit, complaints, muxed, parameters, probed, record, tracks_of, units


def _file(path: Path, muxer: Muxer, sequence: tuple[Unit, ...] | list[Unit]) -> Path:
    path = path.with_suffix(muxer.suffix)
    path.write_bytes(b"".join(muxed(muxer, sequence)))
    return path


def _layout(data: bytes, ending: str) -> FileLayout:
    parse = mp4.layout if ending == ".mp4" else webm.layout
    return parse(lambda at, size: data[at : at + size], len(data))


@pytest.mark.parametrize("codec", ["H264", "H265", "VP8", "VP9", "AV1"])
def test_every_codec_is_written_as_it_came(codec: str, tmp_path: Path) -> None:
    sequence = units(codec)
    muxer = Muxer(tracks_of(codec), start_us=START_US, title="yard/cam")
    path = _file(tmp_path / "file", muxer, sequence)
    assert path.suffix == (".webm" if codec == "VP8" else ".mp4")
    assert complaints(path) == ""
    for kind, seen in probed(path).items():
        wanted = [unit.pts_us / 1e6 for unit in sequence if unit.kind == kind]
        assert seen.times == pytest.approx(wanted, abs=0.0011)
    with av.open(str(path)) as container:
        kept = b"".join(bytes(packet) for packet in container.demux(video=0))
    sent = b"".join(unit.data for unit in sequence if unit.kind == "video")
    assert abs(len(kept) - len(sent)) < 0.02 * len(sent)  # start codes become lengths


@pytest.mark.parametrize("codec", ["H264", "H265", "VP8", "VP9", "AV1"])
@pytest.mark.parametrize("audio", [True, False])
def test_players_are_told_how_to_turn_the_pictures(codec: str, audio: bool, tmp_path: Path) -> None:
    for number in range(8):
        segment = record(Store(tmp_path / str(number)), codec=codec, audio=audio, orientation=number)
        assert complaints(segment.path) == ""
        with av.open(str(segment.path)) as container:
            frame = next(container.decode(video=0))
            assert (frame.width, frame.height) == (320, 180)
            side_data: Any = frame.side_data
            matrix = side_data.get("DISPLAYMATRIX")
            assert (0 if matrix is None else orientation.of_matrix(bytes(matrix))) == number


@pytest.mark.parametrize("codec", ["H264", "VP8", None])
def test_each_part_is_whole_alone_and_holds_a_second(codec: str | None, tmp_path: Path) -> None:
    muxer = Muxer(tracks_of(codec), start_us=START_US, title="yard/cam")
    out = [part for part in muxed(muxer, units(codec)) if part]
    assert len(out) == 4
    for count in range(1, len(out) + 1):
        data = b"".join(out[:count])
        found = _layout(data, muxer.suffix)
        assert found.end == len(data)
        path = tmp_path / f"{count}{muxer.suffix}"
        path.write_bytes(data)
        assert complaints(path) == ""
        assert found.duration_us == pytest.approx(count * PART_US, abs=45_000)
    if codec is not None:
        assert [part.key for part in found.parts[:3]] == [True] * 3


def test_a_key_frame_begins_a_part() -> None:
    """Playlists and clips are cut at parts."""
    sequence = [unit for unit in units("H264", audio=False) if unit.pts_us >= 1_000_000 or unit.pts_us < 400_000]
    muxer = Muxer([parameters("H264")], start_us=0, title="")
    shifted = [unit._replace(pts_us=unit.pts_us - 600_000 * (unit.pts_us >= 1_000_000)) for unit in sequence]
    found = _layout(b"".join(muxed(muxer, shifted)), ".mp4")
    assert [(part.start_us, part.key) for part in found.parts] == [
        (0, True), (400_000, True), (1_400_000, True), (2_400_000, True)
    ]  # fmt: skip


def test_a_late_track_keeps_its_time(tmp_path: Path) -> None:
    sequence = [unit for unit in units("H264") if unit.kind == "video" or unit.pts_us >= 2_000_000]
    path = _file(tmp_path / "file", Muxer(tracks_of("H264"), start_us=0, title=""), sequence)
    assert complaints(path) == ""
    assert 2.0 <= probed(path)["audio"].times[0] < 2.02
    assert probed(path)["video"].times[0] == 0


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_a_silent_track_holds_nothing_back(codec: str) -> None:
    muxer = Muxer(tracks_of(codec), start_us=0, title="")
    given = muxed(muxer, units(codec, audio=False))
    first = next(index for index, parts in enumerate(given) if parts)
    assert first <= 26  # the frame after the first second, and one more


def test_a_silent_track_may_never_speak(tmp_path: Path) -> None:
    path = _file(tmp_path / "file", Muxer(tracks_of("H264"), start_us=0, title=""), units("H264", audio=False))
    assert complaints(path) == ""
    assert len(probed(path)["video"].times) == 100


def test_audio_alone(tmp_path: Path) -> None:
    path = _file(tmp_path / "file", Muxer([parameters("opus")], start_us=0, title=""), units(None))
    assert complaints(path) == ""
    assert probed(path)["audio"].codec == "opus"


def test_times_that_stand_or_go_back_are_nudged_where_pictures_come_in_order(tmp_path: Path) -> None:
    bent = [
        unit._replace(pts_us=unit.pts_us - (40_000 if index == 10 else 90_000 if index == 20 else 0))
        for index, unit in enumerate(units("VP9", audio=False))
    ]
    muxer = Muxer([parameters("VP9")], start_us=0, title="")
    path = _file(tmp_path / "file", muxer, bent)
    assert muxer.nudged == 2
    times = probed(path)["video"].times
    assert times == sorted(set(times))
    assert len(times) == 100
    assert complaints(path) == ""


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_a_long_gap_stays(codec: str, tmp_path: Path) -> None:
    late = [unit._replace(pts_us=unit.pts_us + 30_000_000 * (unit.pts_us >= 2_000_000)) for unit in units(codec)]
    path = _file(tmp_path / "file", Muxer(tracks_of(codec), start_us=0, title=""), late)
    assert complaints(path) == ""
    assert probed(path)["video"].times[-1] == pytest.approx(33.96, abs=0.001)


def test_a_change_of_parameter_sets_inside_a_file_still_decodes(tmp_path: Path) -> None:
    """The recording cuts there; should it not, nothing is lost."""
    out = Muxer([parameters("H264")], start_us=0, title="")
    larger = [unit._replace(pts_us=unit.pts_us + 4_000_000) for unit in units("H264", audio=False)]
    path = _file(tmp_path / "file", out, [*units("H264", audio=False), *larger])
    assert complaints(path) == ""


@pytest.mark.parametrize(("codec", "encoder"), [("PCMU", "pcm_mulaw"), ("PCMA", "pcm_alaw"), ("G722", "adpcm_g722")])
@pytest.mark.parametrize("size", [80, 160, 240, 333])
def test_telephone_audio_becomes_opus(codec: str, encoder: str, size: int, tmp_path: Path) -> None:
    spoken = _telephone(encoder)
    cut = [Unit(at * 125, "audio", spoken[at : at + size], key=True) for at in range(0, len(spoken), size)]
    path = _file(tmp_path / "file", Muxer([parameters(codec)], start_us=0, title=""), cut)
    assert complaints(path) == ""
    seen = probed(path)["audio"]
    assert seen.codec == "opus"
    assert len(seen.times) == 100
    assert _loudness(path) == pytest.approx(-21.0, abs=1.0)  # the sine source's 1/8, as it went in


def test_telephone_audio_keeps_its_gaps(tmp_path: Path) -> None:
    spoken = _telephone("pcm_mulaw")
    cut = [
        Unit(at * 125 + 3_000_000 * (at >= 8000), "audio", spoken[at : at + 160], key=True)
        for at in range(0, 16000, 160)
    ]
    path = _file(tmp_path / "file", Muxer([parameters("PCMU")], start_us=0, title=""), cut)
    times = probed(path)["audio"].times
    assert times[50] - times[49] == pytest.approx(3.02, abs=0.001)


@pytest.mark.parametrize(("codec", "name"), [("H264", "date"), ("VP8", "DATE")])
def test_the_start_is_in_the_file(codec: str, name: str, tmp_path: Path) -> None:
    muxer = Muxer(tracks_of(codec), start_us=START_US + 234, title="yard/cam")
    with av.open(str(_file(tmp_path / "file", muxer, units(codec)))) as container:
        assert container.metadata[name] == "2026-03-04T05:06:07.891234Z"
        assert container.metadata["title"] == "yard/cam"
        assert container.metadata["creation_time"].startswith("2026-03-04T05:06:07")


def test_nothing_written_is_nothing_closed() -> None:
    muxer = Muxer(tracks_of("H264"), start_us=0, title="")
    assert muxer.close() == b""
    assert muxer.close() == b""


def test_one_unit_is_a_file(tmp_path: Path) -> None:
    path = _file(tmp_path / "file", Muxer(tracks_of("H264"), start_us=0, title=""), units("H264", audio=False)[:1])
    assert complaints(path) == ""
    assert len(probed(path)["video"].times) == 1


def test_units_that_no_container_takes_are_an_error() -> None:
    with pytest.raises(MuxError):
        muxed(
            Muxer([parameters("H264")], start_us=0, title=""), [Unit(0, "video", b"\0\0\1\x41nonsense", key=True)] * 3
        )
    with pytest.raises(MuxError):
        suffix(["H264", "speex"])


def _telephone(encoder: str) -> bytes:
    """Two seconds of a tone."""
    context = av.CodecContext.create("g722" if encoder == "adpcm_g722" else encoder, "w")
    assert isinstance(context, av.AudioCodecContext)
    rate = 16000 if encoder == "adpcm_g722" else 8000
    context.sample_rate, context.layout, context.format = rate, "mono", "s16"
    graph = f"sine=frequency=440:sample_rate={rate}:samples_per_frame={rate // 50}:duration=2"
    with av.open(graph, format="lavfi") as tone:
        return b"".join(bytes(packet) for frame in tone.decode(audio=0) for packet in context.encode(frame))


def _loudness(path: Path) -> float:
    command = ["ffmpeg", "-hide_banner", "-i", str(path), "-af", "volumedetect", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(said.split("mean_volume: ")[1].split()[0])


@pytest.mark.parametrize("audio", [True, False])
def test_a_finished_webm_has_its_duration_and_an_index_of_its_key_frames(audio: bool, tmp_path: Path) -> None:
    segment = record(Store(tmp_path), codec="VP8", audio=audio)
    assert complaints(segment.path) == ""
    with av.open(str(segment.path)) as container:
        stream = container.streams.video[0]
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(4, abs=0.02)
        container.seek(1_500_000)  # FFmpeg reads the index at the first seek
        assert [entry.timestamp for entry in stream.index_entries if entry.is_keyframe] == [0, 1000, 2000, 3000]
        assert next(container.demux(stream)).pts == 1000


def test_the_end_of_a_webm_changes_no_place_in_it(tmp_path: Path) -> None:
    """Browsers may have its header and the places of its parts already."""
    muxer = Muxer(tracks_of("VP8"), start_us=START_US, title="yard/cam")
    data = b"".join(muxed(muxer, units("VP8")))
    before, ending = webm.layout(lambda at, size: data[at : at + size], len(data)), muxer.ending
    assert before.header == len(ending)
    finished = ending + data[len(ending) :]
    assert webm.layout(lambda at, size: finished[at : at + size], len(finished)) == before


def test_a_header_of_another_form_stays_as_it_is() -> None:
    for header in (b"", b"nonsense", bytes.fromhex("1a45dfa380") + bytes.fromhex("18538067ff") + b"nonsense"):
        assert webm_index.finished_header(header, 4000.0, 100_000) == header
