"""Pictures: decodes one key frame and encodes it as JPEG.

Owns the decoders and the size of the JPEG. The only file that decodes video for the product; never keeps a picture, not
even in an exception. Slow (milliseconds): call it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final, TypeVar, cast

import av
from av.codec.context import CodecContext, ThreadType
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from recorder.playback.picture_size import PictureError, check_size
from recorder.store.directory import Segment
from recorder.store.file_layout import FileLayout
from recorder.store.reader import Reader
from sfu.media.formats import orientation
from sfu.media.formats.picture_size import DECODER_OPTIONS

_T = TypeVar("_T")

_QUANTIZER: Final = "4"
"""The quality, on FFmpeg's scale from 2 (best) to 31."""
_SMALLER_WIDTHS: Final = (1280, 960, 640, 480, 320, 160)
"""The widths in pixels that are tried until a JPEG is small enough."""
_DECODERS: Final = {"H264": "h264", "H265": "hevc", "VP8": "vp8", "VP9": "vp9", "AV1": "libdav1d"}
_MAX_SIDE_PIXELS: Final = 7680
_MIRROR: Final = (("hflip", ""),)
_TURNS: Final = ((), (("transpose", "clock"),), (("hflip", ""), ("vflip", "")), (("transpose", "cclock"),))
"""FFmpeg's filters (name, options) by quarter turns clockwise."""


def jpeg_at(segment: Segment, layout: FileLayout, at_us: int, width: int | None = None) -> bytes:
    """Returns the JPEG of the key frame at or before `at_us`, which counts from the segment's start.

    `width` in pixels: None, or more than the frame has, for that of the frame. Raises PictureError or ReadError.
    """
    with Reader(segment.path, at_us, at_us + 1, layout=layout) as reader:
        stream = reader.streams.get("video")
        if stream is None:
            raise PictureError(f"{segment.path} has no video")
        context = cast("VideoCodecContext", stream.codec_context)
        data = next((packet.data for packet in reader.packets() if packet.kind == "video" and packet.key), None)
        if data is None:
            raise PictureError(f"{segment.path} has no key frame before this time")
        check_size(context.name, (context.width, context.height), data, context.extradata or b"")
        return _made(lambda: _jpeg_as_recorded(_decoded(context, data), width))


def jpegs_of(
    codec: str, data: bytes, size: tuple[int, int], *, max_bytes: int, turn: int = orientation.UPRIGHT
) -> tuple[bytes, bytes]:
    """Returns two upright JPEGs of a key frame: one in full size, and one of at most `max_bytes` if that is possible.

    `data`: the frame with its parameter sets, which claim `size`, before it is turned by the orientation `turn`.
    `codec`: its name in RTP. Raises PictureError if it is too large or does not decode.
    """
    name = _DECODERS[codec]
    check_size(name, size, data)
    return _made(lambda: _jpegs(name, data, turn, max_bytes))


def _made(make: Callable[[], _T]) -> _T:
    """Returns what `make` returns. Raises PictureError without the fault's traceback, which would keep the picture."""
    try:
        return make()
    except (PictureError, av.FFmpegError, ValueError, MemoryError) as error:
        text = str(error)
    raise PictureError(text)  # outside of the handler: it has no context


def _jpegs(decoder: str, data: bytes, turn: int, max_bytes: int) -> tuple[bytes, bytes]:
    frame = _decoded(cast("VideoCodecContext", CodecContext.create(decoder, "r")), data)
    full = small = _jpeg(frame, None, turn)
    for width in _SMALLER_WIDTHS:
        if len(small) <= max_bytes:
            break
        small = _jpeg(frame, width, turn)
    return full, small


def _jpeg_as_recorded(frame: VideoFrame, width: int | None) -> bytes:
    """Returns the frame as JPEG, turned as its file says."""
    return _jpeg(frame, width, orientation.of_side_data(frame.side_data))


def _decoded(context: VideoCodecContext, data: bytes) -> VideoFrame:
    context.thread_count, context.thread_type = 1, ThreadType.NONE  # more threads do not help with one frame
    context.options = dict(DECODER_OPTIONS)
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    if not frames:
        raise PictureError("the key frame cannot be decoded")
    return frames[0]


def _jpeg(frame: VideoFrame, width: int | None, turn: int) -> bytes:
    """Returns the upright frame as JPEG, scaled down to `width` pixels; None for its own width."""
    if not 0 < frame.width <= _MAX_SIDE_PIXELS or not 0 < frame.height <= _MAX_SIDE_PIXELS:
        raise PictureError(f"the frame has {frame.width}x{frame.height} pixels: at most {_MAX_SIDE_PIXELS} a side work")
    swaps = orientation.swaps_sides(turn)
    across, down = (frame.height, frame.width) if swaps else (frame.width, frame.height)
    width = min(width or across, across)
    size = (width, max(1, round(down * width / across)))
    encoder: Any = CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    encoder.options = {"qmin": _QUANTIZER, "qmax": _QUANTIZER}
    lying = (size[1], size[0]) if swaps else size
    scaled = frame.reformat(*lying, format="yuvj420p", dst_color_range=ColorRange.JPEG)
    scaled.pts = 0
    turned = _turned(scaled, turn)
    return b"".join(bytes(packet) for packet in [*encoder.encode(turned), *encoder.encode(None)])


def _turned(frame: VideoFrame, turn: int) -> VideoFrame:
    """Returns the frame, mirrored and turned by FFmpeg's filters."""
    filters = (*(_MIRROR if orientation.mirrors(turn) else ()), *_TURNS[turn & 3])
    if not filters:
        return frame
    graph = Graph()
    steps = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)),
        *(graph.add(name, options) for name, options in filters),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps).configure()
    graph.push(frame)
    return cast("VideoFrame", graph.pull())
