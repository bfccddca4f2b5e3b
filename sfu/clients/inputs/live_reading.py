"""The packets of one connection to a live input: what is old when it begins, or too late for us, is left out.

Blocking: runs in the source's thread. Never decodes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Final, TypeAlias

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from sfu.clients.inputs.backlog import EDGE_WAIT_S, LONGEST_HOLD_S, MOST_HELD, WAIT_S, Piece, Slowness, beginning
from sfu.clients.inputs.live_clock import LiveClock
from sfu.clients.inputs.opening import UsableStream

_MICROSECOND: Final = Fraction(1, 1_000_000)
_RTP_TIMES: Final = 1 << 32
_UNTIMED: Final = ("mpjpeg", "mjpeg")
"""Formats without times: FFmpeg assumes 25 pictures a second, whatever comes."""

Numbered: TypeAlias = "tuple[int, Packet[Stream]]"
"""A packet and the number of its track."""


class LiveReading:
    """One connection to a live input. `encoded`: the number of a video track that is encoded here."""

    def __init__(
        self, container: InputContainer, streams: Sequence[UsableStream], clock: LiveClock, *, encoded: int | None
    ) -> None:
        self.skipped = 0
        """Packets that were left out since the encoder is too slow."""
        self._container = container
        self._streams = streams
        self._clock = clock
        self._encoded = encoded
        self._video = next((number for number, stream in enumerate(streams) if stream.type == "video"), None)
        self._numbers = {stream.index: number for number, stream in enumerate(streams)}
        self._untimed = container.format.name in _UNTIMED
        self._slowness = Slowness()
        self._waited = False
        """True if a read has waited since the latest packet of the encoded track."""

    def packets(self, stop: threading.Event) -> Iterator[Numbered]:
        """Yields the packets worth sending until the connection ends or `stop` is set."""
        held: list[tuple[Packet[Stream], Piece]] | None = []
        began = before = time.monotonic()
        for packet in self._container.demux(*self._streams):
            if stop.is_set():
                return
            now = time.monotonic()
            waited, number = now - before, self._numbers[packet.stream_index]
            piece = self._piece(packet, number, now - began) if packet.size else None
            if held is not None:
                if piece is not None:
                    held.append((packet, piece))
                if self._holds(held, now - began, at_edge=waited > EDGE_WAIT_S or piece is None):
                    before = time.monotonic()
                    continue
                yield from self._release(held, now)
                held = None
            elif piece is None or not self._skips(piece, now, waited=waited > WAIT_S):
                yield number, packet
            before = time.monotonic()
        if held:
            yield from self._release(held, time.monotonic())

    def place(self, number: int) -> Callable[[float], float]:
        """Returns the function that turns a track's times in the input into media time."""
        return partial(_placed, self._clock, number)

    def _piece(self, packet: Packet[Stream], number: int, passed: float) -> Piece:
        unit = packet.time_base or _MICROSECOND
        pts = packet.pts
        if self._untimed or pts is None:
            pts = packet.pts = packet.dts = round(passed / unit)
        return Piece(number, float(pts * unit), packet.is_keyframe)

    def _holds(self, held: Sequence[object], passed: float, *, at_edge: bool) -> bool:
        """Returns True while older packets are read than the camera sends now."""
        return not (at_edge and len(held) > 1) and len(held) < MOST_HELD and passed < LONGEST_HOLD_S

    def _release(self, held: list[tuple[Packet[Stream], Piece]], now: float) -> Iterator[Numbered]:
        pieces = [piece for _, piece in held]
        kept = beginning(pieces, self._video)
        first = min(piece.seconds for piece, keep in zip(pieces, kept, strict=True) if keep)
        edge = max(piece.seconds for piece in pieces)
        rtsp = self._container.format.name == "rtsp"
        wraps = {n: float(_RTP_TIMES * (s.time_base or _MICROSECOND)) for n, s in enumerate(self._streams) if rtsp}
        self._clock.connect(first, edge, now, wraps)
        for (packet, piece), keep in zip(held, kept, strict=True):
            if keep:
                yield piece.track, packet

    def _skips(self, piece: Piece, now: float, *, waited: bool) -> bool:
        self._waited = self._waited or waited
        if piece.track != self._encoded:
            return False
        skips = self._slowness.skips(piece, now, waited=self._waited)
        self._waited = False
        self.skipped += skips
        return skips


def _placed(clock: LiveClock, number: int, seconds: float) -> float:
    return clock.place(number, seconds, time.monotonic())
