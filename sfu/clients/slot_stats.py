"""Statistics of one slot of a viewer: loss, order, frames, latency.

Pure: `now` and wall time are arguments. Owns bounded memory, however long it runs. Never decodes.
"""

from __future__ import annotations

from dataclasses import dataclass

from sfu.clients.histogram import Histogram
from sfu.clients.outgoing import latency_us
from sfu.clients.sequence_counter import SequenceCounter
from sfu.media.formats.key_frame_detection import starts_key_frame
from sfu.media.formats.rtp import Packet
from sfu.signaling.bodies import SourceStatus

_KEY_FRAME_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class SlotFigures:
    """Results of one slot. Times in ms from the viewer's first offer; rates from the first packet to the last."""

    mid: str
    kind: str
    room: str | None
    peer: str | None
    codec: str | None
    reason: str | None
    packets: int
    bytes: int
    bitrate: int
    lost: int
    reordered: int
    duplicated: int
    frames: int
    key_frames: int
    fps: float
    longest_gap_ms: float
    first_packet_ms: float | None
    first_key_frame_ms: float | None
    late_p50_ms: float | None
    late_p99_ms: float | None
    key_frame_requests: int


class SlotMeter:
    """The running statistics of one slot."""

    def __init__(self, mid: str, kind: str) -> None:
        self.mid = mid
        self.kind = kind
        self.source: SourceStatus | None = None
        self.reason: str | None = None
        self.key_frame_requests = 0
        self._started = 0.0
        self._sequences = SequenceCounter()
        self._latency = Histogram()
        self._bytes = 0
        self._frames = self._key_frames = 0
        self._first_at: float | None = None
        self._first_key_at: float | None = None
        self._last_at = self._frame_at = 0.0
        self._longest_gap = 0.0
        self._media_time = self._key_media_time = -1
        self._waiting_since: float | None = None

    def begin(self, started: float) -> None:
        """Measures times from `started`."""
        self._started = started

    def restart(self) -> None:
        """Starts a new session, with other sequence numbers and a key frame first."""
        self._sequences.restart()
        self._media_time = self._key_media_time = -1

    def shows(self, source: SourceStatus | None, reason: str | None, now: float) -> None:
        """Notes the source that the server shows in the slot. Another source has to begin with a key frame."""
        if source is not None and source != self.source:
            self._waiting_since = now
        self.source, self.reason = source, reason

    def received(self, packet: Packet, codec: str, *, sent: bytes | None, now: float, wall: float) -> None:
        """Counts one packet; `sent` is the value of its abs-send-time extension, if it has one."""
        if not self._sequences.add(packet.sequence):
            return
        self._bytes += len(packet.payload)
        if self._first_at is None:
            self._first_at = self._frame_at = now
            self._waiting_since = now
        self._last_at = now
        if packet.media_time != self._media_time:
            self._media_time = packet.media_time
            self._frames += 1
            self._longest_gap = max(self._longest_gap, now - self._frame_at)
            self._frame_at = now
        if self.kind == "video" and packet.media_time != self._key_media_time:
            self._look_for_key_frame(packet, codec, now)
        if sent is not None and len(sent) == 3:
            self._latency.add(latency_us(int.from_bytes(sent, "big"), wall))

    def _look_for_key_frame(self, packet: Packet, codec: str, now: float) -> None:
        if starts_key_frame(codec, packet.payload):
            self._key_media_time = packet.media_time
            self._key_frames += 1
            self._waiting_since = None
            if self._first_key_at is None:
                self._first_key_at = now

    def key_frame_due(self, now: float) -> bool:
        """Returns True, once a second, if a video slot receives packets but no key frame. Counts a request."""
        if self.kind != "video" or self._first_at is None or self._waiting_since is None:
            return False
        if now - self._waiting_since <= _KEY_FRAME_WAIT_S:
            return False
        self._waiting_since = now
        self.key_frame_requests += 1
        return True

    def figures(self) -> SlotFigures:
        """Returns the results so far."""
        elapsed = self._last_at - (self._first_at or self._last_at)
        source = self.source
        return SlotFigures(
            mid=self.mid,
            kind=self.kind,
            room=source.room if source else None,
            peer=source.peer if source else None,
            codec=source.codec if source else None,
            reason=self.reason,
            packets=self._sequences.received,
            bytes=self._bytes,
            bitrate=round(self._bytes * 8 / elapsed) if elapsed else 0,
            lost=self._sequences.lost,
            reordered=self._sequences.reordered,
            duplicated=self._sequences.duplicated,
            frames=self._frames,
            key_frames=self._key_frames,
            fps=round((self._frames - 1) / elapsed, 2) if elapsed else 0.0,
            longest_gap_ms=round(self._longest_gap * 1000, 1),
            first_packet_ms=self._since_start(self._first_at),
            first_key_frame_ms=self._since_start(self._first_key_at),
            late_p50_ms=self._latency.quantile_ms(0.5),
            late_p99_ms=self._latency.quantile_ms(0.99),
            key_frame_requests=self.key_frame_requests,
        )

    def _since_start(self, at: float | None) -> float | None:
        return None if at is None else round((at - self._started) * 1000, 1)
