"""Pictures cost little memory whatever a key frame claims: measured in a process of its own."""

from __future__ import annotations

import io
import subprocess
import sys
import traceback
from pathlib import Path

import av
import pytest
from av.codec.context import CodecContext

from recorder.playback import picture
from recorder.playback.picture_size import PictureError, check_size
from recorder.store.directory import Store
from recorder.store.index import layout_of
from sfu.media.formats.picture_size import MAX_PIXELS
from tests.helpers.bombs import CODECS, bomb
from tests.helpers.recordings import Unit, record
from tests.helpers.rtp_payloads import encode_grey

_FRAMES = 10
_MAX_GROWTH_KB = 50_000
_MEASURE = """
import sys
from pathlib import Path
from recorder.playback import picture
from recorder.playback.picture_size import PictureError
from recorder.playback.queries import Playback
from recorder.store.directory import Store
from recorder.depacketize.units import CodecParameters
from recorder.segments.muxer import Muxer, MuxError

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

codec, file, size, frames = sys.argv[1], Path(sys.argv[2]), tuple(map(int, sys.argv[3].split("x"))), int(sys.argv[4])
small, bomb = Path(sys.argv[5]).read_bytes(), Path(sys.argv[6]).read_bytes()
playback = Playback(Store(file))
picture.jpegs_of(codec, small, (64, 64), max_bytes=60_000)
before, kept = peak(), []
for number in range(frames):
    for claimed in (size, (0, 0)):
        try:
            picture.jpegs_of(codec, bomb, claimed, max_bytes=60_000)
        except PictureError as error:
            kept.append(error)
    found = [playback.thumbnail("yard", "cam", int(at), 320) for at in sys.argv[7:]]
    assert found == [None] * len(found), found
    muxer = Muxer([CodecParameters(codec, 90_000, *size, pixel_format="yuv420p" if codec == "VP9" else "")],
                  start_us=0, title="")
    muxer.write("video", 0, bomb, key=True)
    muxer.close()
assert len(kept) == 2 * frames, "no picture may come of it"
print(peak() - before)
"""


@pytest.mark.parametrize("codec", CODECS)
def test_ten_large_key_frames_cost_little_memory(codec: str, tmp_path: Path) -> None:
    """As snapshots, as thumbnails of recorded files, and when a recording begins with them."""
    data, size = bomb(codec)
    (tmp_path / "bomb").write_bytes(data)
    encoder, options = _SMALL[codec]
    (tmp_path / "small").write_bytes(encode_grey(encoder, (64, 64), options)[0])
    segment = record(
        Store(tmp_path / "store"), codec=codec, audio=False, size=size, sequence=[Unit(0, "video", data, True)]
    )
    argv = [codec, tmp_path / "store", f"{size[0]}x{size[1]}", _FRAMES, tmp_path / "small", tmp_path / "bomb"]
    command = [sys.executable, "-c", _MEASURE, *map(str, argv), str(segment.start_us)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < _MAX_GROWTH_KB


_SMALL = {
    "VP8": ("libvpx", {"deadline": "realtime"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime"}),
    "H264": ("libx264", {"preset": "ultrafast", "x264-params": "log-level=none"}),
    "H265": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}),
    "AV1": ("libsvtav1", {"preset": "11", "svtav1-params": "pred-struct=1:lp=1"}),
}


@pytest.mark.parametrize("codec", ["H264", "H265"])
def test_a_size_in_the_parameter_sets_counts_whatever_else_is_claimed(codec: str) -> None:
    """Cropping could hide it: the container and the recorder know the size after cropping."""
    name = {"H264": "h264", "H265": "hevc"}[codec]
    with pytest.raises(PictureError, match=str(MAX_PIXELS)):
        check_size(name, (64, 64), bomb(codec)[0])


@pytest.mark.parametrize("codec", ["H264", "H265"])
def test_a_size_in_the_configuration_of_an_mp4_counts(codec: str, tmp_path: Path) -> None:
    segment = record(Store(tmp_path), codec=codec, audio=False, sequence=[Unit(0, "video", bomb(codec)[0], True)])
    with av.open(str(segment.path)) as container:
        context = container.streams.video[0].codec_context
        with pytest.raises(PictureError, match=str(MAX_PIXELS)):
            check_size(context.name, (0, 0), b"", context.extradata or b"")


def test_a_picture_of_8k_is_within_the_bound() -> None:
    check_size("vp8", (7680, 4320), b"")
    with pytest.raises(PictureError):
        check_size("vp8", (7680, 4321), b"")


def test_an_exception_keeps_no_picture() -> None:
    """A task keeps its exception, and with its traceback every local value, until somebody asks again."""
    wide = encode_grey("libvpx", (8000, 64), {"deadline": "realtime"})[0]
    with pytest.raises(PictureError, match="8000x64") as caught:
        picture.jpegs_of("VP8", wide, (8000, 64), max_bytes=1)
    assert caught.value.__context__ is None
    held = [value for frame, _ in traceback.walk_tb(caught.tb) for value in frame.f_locals.values()]
    assert not any(isinstance(value, av.VideoFrame | CodecContext) for value in held)


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_a_thumbnail_stands_upright_in_each_orientation(codec: str, tmp_path: Path) -> None:
    """The test picture's corners differ; a player's own turn is the measure."""
    for number in range(8):
        store = Store(tmp_path / str(number))
        segment = record(store, codec=codec, audio=False, orientation=number)
        jpeg = picture.jpeg_at(segment, layout_of(segment.path), 0)
        command = ["ffmpeg", "-v", "error", "-i", str(segment.path), "-frames:v", "1", "-f", "rawvideo"]
        played = subprocess.run([*command, "-pix_fmt", "gray", "-"], capture_output=True, check=True, timeout=60).stdout
        with av.open(io.BytesIO(jpeg), "r") as container:
            shown = next(container.decode(video=0))
        assert (shown.width, shown.height) == ((180, 320) if number & 1 else (320, 180))
        plane = shown.reformat(format="gray").planes[0]
        rows = [bytes(plane)[at * plane.line_size :][: shown.width] for at in range(shown.height)]
        pixels = b"".join(rows)
        assert len(pixels) == len(played)
        differ = sum(abs(a - b) for a, b in zip(pixels, played, strict=True)) / len(played)
        assert differ < 12, (number, differ)
