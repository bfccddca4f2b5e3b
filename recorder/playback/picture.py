"""Pictures: one encoded frame decoded, and written as JPEG. The only file that decodes video, and none is ever kept.

Owns the smallest and quickest way from a key frame to bytes that a browser shows. Slow (milliseconds): in a thread.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final, cast

import av
from av.codec.context import CodecContext, ThreadType
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from recorder.store.directory import Segment
from recorder.store.file_layout import FileLayout
from recorder.store.reader import Reader

_QUALITY: Final = "4"  # of FFmpeg's 2 (best) to 31
_SMALLER: Final = (1280, 960, 640, 480, 320, 160)  # pixels wide
_DECODERS: Final = {"H264": "h264", "H265": "hevc", "VP8": "vp8", "VP9": "vp9", "AV1": "libdav1d"}
_LARGEST: Final = 7680


class PictureError(RuntimeError):
    """No picture comes out: the frame is damaged, or there is no video."""


def jpeg_at(segment: Segment, layout: FileLayout, at_us: int, width: int | None = None) -> bytes:
    """The key frame at or before `at_us`, counted from the segment's start. PictureError, ReadError."""
    with Reader(segment.path, at_us, at_us + 1, layout=layout) as reader:
        stream = reader.streams.get("video")
        if stream is None:
            raise PictureError(f"{segment.path} has no video")
        for kind, _, data, key in reader.packets():
            if kind == "video" and key:
                return _jpeg(_decoded(cast("VideoCodecContext", stream.codec_context), data), width)
    raise PictureError(f"{segment.path} has no key frame there")


def jpegs_of(codec: str, data: bytes, *, most: int) -> tuple[bytes, bytes]:
    """A key frame with its parameter sets, `codec` by its RTP name: in full, and in `most` bytes. PictureError."""
    frame = _decoded(cast("VideoCodecContext", CodecContext.create(_DECODERS[codec], "r")), data)
    full = small = _jpeg(frame, None)
    for width in _SMALLER:
        if len(small) <= most:
            break
        small = _jpeg(frame, width)
    return full, small


def _decoded(context: VideoCodecContext, data: bytes) -> VideoFrame:
    context.thread_count, context.thread_type = 1, ThreadType.NONE  # several would wait for each other, for one frame
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError as error:
        raise PictureError(str(error)) from error
    if not frames:
        raise PictureError("the frame does not decode")
    return frames[0]


def _jpeg(frame: VideoFrame, width: int | None) -> bytes:
    """`width` is at most the frame's own; the height follows."""
    if not 0 < frame.width <= _LARGEST or not 0 < frame.height <= _LARGEST:
        raise PictureError(f"{frame.width}x{frame.height} is no size for a picture")
    wide = min(width or frame.width, frame.width)
    size = (wide, max(1, round(frame.height * wide / frame.width)))
    encoder: Any = CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    encoder.options = {"qmin": _QUALITY, "qmax": _QUALITY}
    try:
        shown = frame.reformat(*size, format="yuvj420p", dst_color_range=ColorRange.JPEG)
        shown.pts = 0
        return b"".join(bytes(packet) for packet in [*encoder.encode(shown), *encoder.encode(None)])
    except (av.FFmpegError, ValueError) as error:
        raise PictureError(str(error)) from error
