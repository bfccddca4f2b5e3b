"""What one slot of a viewer receives, in figures: loss, order, pictures, lateness.

Pure: `now` and wall time come in, memory is bounded however long it runs. Never decodes.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from sfu.clients.outgoing import abs_send_time
from sfu.media.formats.key_frame_detection import starts_key_frame
from sfu.media.formats.rtp import Packet, sequence_delta
from sfu.signaling.bodies import SourceStatus

_WINDOW = 2048
_ABS_SEND_TIME_WRAP = 1 << 24
_TICKS_PER_MS = (1 << 18) / 1000
_BUCKET_MS = 0.25
_BUCKETS = 8000
_PATIENCE = 1.0


class Histogram:
    """Durations up to 2 s in steps of 0.25 ms; what is longer counts as 2 s."""

    def __init__(self) -> None:
        self.count = 0
        self._buckets = array("L", bytes(_BUCKETS * array("L").itemsize))

    def add(self, ms: float) -> None:
        """One duration in ms; negative ones, from clocks that disagree, count as 0."""
        self._buckets[min(max(int(ms / _BUCKET_MS), 0), _BUCKETS - 1)] += 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """The duration in ms that `share` of all do not exceed, or None without any."""
        below = 0
        for number, count in enumerate(self._buckets):
            below += count
            if below and below >= share * self.count:
                return (number + 1) * _BUCKET_MS
        return None


class SequenceCounter:
    """Which sequence numbers came: lost, late and repeated ones told apart within the last 2048."""

    def __init__(self) -> None:
        self.received = 0
        self.reordered = 0
        self.duplicated = 0
        self._expected_before = 0
        self._first = self._highest = -1
        self._seen = array("q", [-1]) * _WINDOW

    def restart(self) -> None:
        """A new session: numbers start anywhere, the counts go on."""
        self._expected_before = self._expected
        self._first = self._highest = -1
        self._seen = array("q", [-1]) * _WINDOW

    def add(self, sequence: int) -> bool:
        """Counts a packet; False for one that came before."""
        if self._highest < 0:
            # far enough from 0 for packets that this one overtook
            self._first = self._highest = extended = sequence + 0x10000
        else:
            extended = self._highest + sequence_delta(sequence, self._highest & 0xFFFF)
        if self._seen[extended % _WINDOW] == extended:
            self.duplicated += 1
            return False
        self._seen[extended % _WINDOW] = extended
        self.received += 1
        self.reordered += extended < self._highest
        self._first, self._highest = min(self._first, extended), max(self._highest, extended)
        return True

    def add_burst(self, sequences: array[int]) -> None:
        """Counts many packets at once, which is cheap as long as each follows the one before."""
        following, count = self._highest + 1, len(sequences)
        low, at = following & 0xFFFF, following % _WINDOW
        in_order = self._highest >= 0 and sequences.tolist() == list(range(low, low + count))
        if in_order and at + count <= _WINDOW:
            self._seen[at : at + count] = array("q", range(following, following + count))
            self._highest += count
            self.received += count
            return
        for sequence in sequences:
            self.add(sequence)

    @property
    def highest(self) -> int:
        """The highest number, extended by how often they wrapped (RFC 3550 section 6.4.1); -1 before the first."""
        return self._highest

    @property
    def lost(self) -> int:
        """Numbers between the first and the highest of each session that never came."""
        return self._expected - self.received

    @property
    def _expected(self) -> int:
        running = self._highest - self._first + 1 if self._highest >= 0 else 0
        return self._expected_before + running


@dataclass(frozen=True, slots=True)
class SlotFigures:
    """One slot's results. Times in ms from the viewer's first offer; rates over the time from first to last packet."""

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
    """Follows one slot's packets."""

    def __init__(self, mid: str, kind: str) -> None:
        self.mid = mid
        self.kind = kind
        self.source: SourceStatus | None = None
        self.reason: str | None = None
        self.key_frame_requests = 0
        self._started = 0.0
        self._sequences = SequenceCounter()
        self._late = Histogram()
        self._bytes = 0
        self._frames = self._key_frames = 0
        self._first_at: float | None = None
        self._first_key_at: float | None = None
        self._last_at = self._frame_at = 0.0
        self._longest_gap = 0.0
        self._media_time = self._key_media_time = -1
        self._waiting_since: float | None = None

    def begin(self, started: float) -> None:
        """Times are measured from here."""
        self._started = started

    def restart(self) -> None:
        """The session begins anew: other sequence numbers, and a key frame first."""
        self._sequences.restart()
        self._media_time = self._key_media_time = -1

    def shows(self, source: SourceStatus | None, reason: str | None, now: float) -> None:
        """What the server says is in the slot; another camera has to begin with a key frame."""
        if source is not None and source != self.source:
            self._waiting_since = now
        self.source, self.reason = source, reason

    def received(self, packet: Packet, codec: str, *, sent: bytes | None, now: float, wall: float) -> None:
        """One packet; `sent` is the value of its abs-send-time extension, if it has one."""
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
            late = (abs_send_time(wall) - int.from_bytes(sent, "big")) % _ABS_SEND_TIME_WRAP
            late -= _ABS_SEND_TIME_WRAP if late >= _ABS_SEND_TIME_WRAP // 2 else 0
            self._late.add(late / _TICKS_PER_MS)

    def _look_for_key_frame(self, packet: Packet, codec: str, now: float) -> None:
        if starts_key_frame(codec, packet.payload):
            self._key_media_time = packet.media_time
            self._key_frames += 1
            self._waiting_since = None
            if self._first_key_at is None:
                self._first_key_at = now

    def key_frame_due(self, now: float) -> bool:
        """Whether to ask for a key frame now: a receiving video slot without one, once a second; counts it."""
        if self.kind != "video" or self._first_at is None or self._waiting_since is None:
            return False
        if now - self._waiting_since <= _PATIENCE:
            return False
        self._waiting_since = now
        self.key_frame_requests += 1
        return True

    def figures(self) -> SlotFigures:
        """The results so far."""
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
            late_p50_ms=self._late.quantile(0.5),
            late_p99_ms=self._late.quantile(0.99),
            key_frame_requests=self.key_frame_requests,
        )

    def _since_start(self, at: float | None) -> float | None:
        return None if at is None else round((at - self._started) * 1000, 1)
