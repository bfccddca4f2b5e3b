"""Opening an input with FFmpeg: options, the streams that can be used, and plain words for what went wrong.

Blocking: runs in the source's thread. Never shows a password: names of inputs are masked.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from typing import Final
from urllib.parse import urlsplit

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from sfu.clients.frames import SourceError
from sfu.credentials import masked, quoted
from sfu.media.formats.picture_size import DECODER_OPTIONS

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
"""Time for an input to answer when it is opened, and for each read."""
_RTSP_ANALYSIS_US: Final = "1500000"
"""Media of an RTSP camera to look at before it is sent, in microseconds: B-frames show within a few pictures.

FFmpeg's own 5 s would be silence after each lost connection. What a stream is, SDP says.
"""
_LATE_SHARE: Final = 0.95
_ERROR_NUMBER = re.compile(r"^\[Errno -?\d+\] ")

UsableStream = VideoStream | AudioStream
_KINDS: Final = ("video", "audio")


def open_input(text: str) -> InputContainer:
    """Opens a path, URL or device. Raises SourceError."""
    url = quoted(text)
    options = dict(DECODER_OPTIONS)  # FFmpeg may decode the first picture to find out its form
    if url.startswith("rtsp"):
        options |= {"rtsp_transport": "tcp", "analyzeduration": _RTSP_ANALYSIS_US}
    device = "v4l2" if url.startswith("/dev/video") else None
    started = time.monotonic()
    try:
        return av.open(url, format=device, options=options, timeout=(TIMEOUT_S, TIMEOUT_S))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = fault(error, url, time.monotonic() - started)
        raise SourceError(f"cannot open {masked(url)}: {reason}") from error


def fault(error: Exception, url: str, waited: float) -> str:
    """Returns why an input cannot be opened or read, in words for users; `waited`: seconds since the attempt began."""
    if isinstance(error, SourceError):
        return str(error)
    host = _host(url)
    if isinstance(error, av.error.ExitError | TimeoutError) or (host and waited >= TIMEOUT_S * _LATE_SHARE):
        return f"{'the camera' if host else 'it'} did not answer within {TIMEOUT_S:.0f} s"
    if host and isinstance(error, OSError) and error.errno == 5 and not _resolves(host):
        hint = " (special characters of a password must be percent-encoded)" if "@" in url else ""
        return f"cannot resolve host {masked(host)}{hint}"
    words = getattr(error, "strerror", None) or _ERROR_NUMBER.sub("", str(error)) or type(error).__name__
    return masked(words)


def _host(url: str) -> str:
    """Returns the host name of a URL; "" for a path."""
    try:
        return (urlsplit(url).hostname or "") if "://" in url else ""
    except ValueError:
        return ""


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return True


def usable_streams(container: InputContainer) -> tuple[list[UsableStream], list[str]]:
    """Returns the first video and the first audio stream in codecs that FFmpeg knows, and the kinds that it does not.

    Cover pictures of music are no video.
    """
    usable: dict[str, UsableStream] = {}
    unknown: set[str] = set()
    for stream in container.streams:
        if not isinstance(stream, UsableStream) or stream.disposition & Disposition.attached_pic:
            continue
        if _decodable(stream):
            usable.setdefault(stream.type, stream)
        else:
            unknown.add(stream.type)
    left_out: list[str] = [kind for kind in _KINDS if kind in unknown and kind not in usable]
    return [usable[kind] for kind in _KINDS if kind in usable], left_out


def _decodable(stream: UsableStream) -> bool:
    """Returns True if FFmpeg knows the codec. The library's types leave out that there may be no context."""
    context: object = stream.codec_context
    return context is not None
