"""A producer: one incoming stream, its latest packets, what it is asked for, and its consumers.

Owns what is done once for each packet that comes in, however many consumers it has. Never renumbers and never sends
media; what it says to its camera leaves through the callables that its participant gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from sfu.media.formats.key_frame_detection import key_frame_test
from sfu.media.formats.picture_size import Size, picture_size
from sfu.media.formats.rtp import Packet, sequence_delta, time_delta
from sfu.media.forward.group import Group, Rewrite
from sfu.media.ingest.gaps import Gaps
from sfu.media.ingest.history import History
from sfu.media.ingest.key_frame_requests import KeyFrameRequests
from sfu.media.ingest.reception import Reception
from sfu.rtc.sdp.codec import Codec

if TYPE_CHECKING:
    from sfu.media.forward.consumer import Consumer
    from sfu.media.ingest.tap import Tap

_SMOOTHING: Final = 0.1
_BURSTY: Final = 0.0005  # seconds between packets of one frame, on average
_RESTART: Final = 3000  # packets; a larger jump is a camera's restart (RFC 3550 appendix A.1, MAX_DROPOUT)
_RESTARTS: Final = 0.5  # seconds between two restarts: each costs every viewer a key frame
_REPAIRED_AHEAD: Final = 64  # packets; the last one of a burst may come by RTX first, no other
_TIME_JUMP: Final = 10.0  # seconds of media time between two packets that the clock knows nothing of
_MOST_EXTENSIONS: Final = 16  # header extensions of one packet: no browser sends half as many
_STALLED: Final = 1.0  # seconds without a packet: browsers stop upper layers when their own link is thin
_MEASURED_OVER: Final = 1.0  # seconds
_SHORT: Final = 400_000  # bytes; a longer way from the key frame costs a viewer more than a fresh one would
HISTORY_BYTES: Final = 8 << 20
"""Most memory that a producer's latest packets take, unless the settings say otherwise."""


class Producer:
    """One incoming track of one participant."""

    def __init__(
        self,
        track: str,
        codecs: Sequence[Codec],
        extensions: Mapping[str, int],
        *,
        history_bytes: int = HISTORY_BYTES,
        ask_key_frame: Callable[[Producer], None],
        ask_again: Callable[[Producer, Sequence[int]], None],
        on_codec: Callable[[Producer], None],
    ) -> None:
        self.track = track
        self.codec = codecs[0]
        self._starts_key_frame = key_frame_test(self.codec.name)
        self.extensions = extensions
        self.consumers: list[Consumer] = []
        self.waiting: list[Consumer] = []
        """Those of them that need a key frame first."""
        self.groups: dict[Rewrite, Group] = {}
        """All others, by what they need rewritten."""
        self.taps: tuple[Tap, ...] = ()
        self.start = 0
        """Index of the first packet of the present stream."""
        self.ssrc: int | None = None
        self.reception = Reception(self.codec.clock_rate)
        self.key_frames = KeyFrameRequests()
        self.history = History(max_bytes=history_bytes)
        self.gaps = Gaps()
        self.octets = 0
        """Bytes of payload that came."""
        self.bitrate = 0
        """Of late, in bit/s."""
        self.heard_at = float("-inf")
        """When the latest packet came, in seconds of the loop's clock."""
        self._measured = (0.0, 0)
        self._size: Size | None = None
        self._sized_at = -1  # index of the key frame that told
        self.drops = {"unknown_payload_type": 0, "stale": 0}
        self.restarts = 0
        """Streams that began in the place of another: a new SSRC or codec, or a jump of numbers or of media time."""
        self.padding = 0
        """Packets of nothing but padding, which go to viewers too: they have numbers."""
        self._codecs = {codec.payload_type: codec for codec in codecs}
        self._ask_key_frame = ask_key_frame
        self._ask_again = ask_again
        self._on_codec = on_codec
        self._highest = 0
        self._after_jump = -1
        self._restarted_at = float("-inf")
        self._spacing = 1.0
        self._last = (0, 0.0)
        self._wanted = False

    def negotiated(self, codecs: Sequence[Codec], extensions: Mapping[str, int]) -> None:
        """Takes over payload types and extension ids of a re-offer."""
        self._codecs = {codec.payload_type: codec for codec in codecs}
        if self._codecs.get(self.codec.payload_type) == self.codec:
            self._codecs[self.codec.payload_type] = self.codec  # the stream goes on: `receive` knows it by identity
        if self.extensions != extensions:
            self.extensions = extensions
            self._restart_consumers(self._highest + 1)

    def knows(self, repaired: Packet) -> bool:
        """Whether a packet that was sent again belongs to the present stream: it must not begin another."""
        delta = sequence_delta(repaired.sequence, self._highest & 0xFFFF)
        return self._codecs.get(repaired.payload_type) is self.codec and -_RESTART <= delta <= _REPAIRED_AHEAD

    def receive(self, packet: Packet, now: float) -> bool:
        """Takes in one packet, `now` in seconds of the loop's clock; False when it may not be forwarded.

        A packet that comes twice, or later than anybody could use it, is `stale`, and so are strays: packets of another
        SSRC right after it was changed, and numbers or media times far from the stream's that no other follows.
        """
        codec = self._codecs.get(packet.payload_type)
        if codec is None:
            self.drops["unknown_payload_type"] += 1
            return False
        if len(packet.extensions) > _MOST_EXTENSIONS:
            self._shorten(packet)
        if not self._place(packet, codec, now):
            self.drops["stale"] += 1
            return False
        self.reception.received(packet.sequence, packet.media_time, now)
        self._measure_spacing(packet.media_time, 1, now)
        packet.key = self._starts_key_frame(packet.payload)
        if not self.history.add(packet, now):
            self.drops["stale"] += 1
            return False
        self.padding += not packet.payload
        self._taken((packet,), len(packet.payload), keyed=packet.key, now=now)
        return True

    def receive_run(self, run: Sequence[Packet], now: float) -> Sequence[Packet]:
        """As `receive`, for packets that follow each other (`rtp.follows`); returns those that may be forwarded."""
        first = run[0]
        if not self._goes_on(first, now):
            return [packet for packet in run if self.receive(packet, now)]
        starts, index, octets, keyed = self._starts_key_frame, self._highest, 0, False
        for packet in run:
            index += 1
            packet.index = index
            octets += len(packet.payload)
            if starts(packet.payload):
                packet.key = keyed = True
            elif not packet.payload:
                self.padding += 1
            if len(packet.extensions) > _MOST_EXTENSIONS:
                self._shorten(packet)
        self._highest = index
        self.reception.received(first.sequence, first.media_time, now, len(run))
        self._measure_spacing(first.media_time, len(run), now)
        self.history.extend(run, octets, now)
        self._taken(run, octets, keyed=keyed, now=now)
        return run

    def _goes_on(self, packet: Packet, now: float) -> bool:
        """Whether this is the next packet of the present stream."""
        codec = self.codec
        follows = packet.sequence == self._highest + 1 & 0xFFFF and packet.ssrc == self.ssrc
        return follows and self._codecs.get(packet.payload_type) is codec and not self._time_jumps(packet, codec, now)

    def _shorten(self, packet: Packet) -> None:
        agreed = self.extensions.values()
        packet.extensions = {number: value for number, value in packet.extensions.items() if number in agreed}

    def _taken(self, packets: Sequence[Packet], octets: int, *, keyed: bool, now: float) -> None:
        """These go on to viewers, in the order of their indexes: `octets` of payload; `keyed`: a key frame starts."""
        for packet in packets if keyed and self.codec.kind == "video" else ():
            if packet.key:
                self.key_frames.key_frame(now)
                self.gaps.key_frame(packet.index)
        self.octets += octets
        self.heard_at = now
        self.gaps.received(packets[0].index, now, len(packets))
        if now >= self.gaps.due_at:
            self._look_for_gaps(now)
        for tap in self.taps:
            for packet in packets:
                tap.packet(self, packet, now)

    def _look_for_gaps(self, now: float) -> None:
        missing = self.gaps.due(now)
        if missing and "nack" in self.codec.feedback:
            self._ask_again(self, [index & 0xFFFF for index in missing])
        if self.gaps.wants_key_frame() and self.consumers:
            self.request_key_frame(now)

    @property
    def bursty(self) -> bool:
        """Whether a frame's packets follow each other so closely that waiting for its end costs next to nothing."""
        return self._spacing < _BURSTY

    def _measure_spacing(self, media_time: int, count: int, now: float) -> None:
        last_time, at = self._last
        if media_time == last_time:
            self._spacing += (now - at - self._spacing) * _SMOOTHING
        self._spacing *= (1 - _SMOOTHING) ** (count - 1)  # those behind the first came with it
        self._last = (media_time, now)

    def _place(self, packet: Packet, codec: Codec, now: float) -> bool:
        """Gives a packet its index, in the present stream or as the first of a new one; False for a stray."""
        jumps = False
        if packet.ssrc == self.ssrc and codec is self.codec:
            delta = sequence_delta(packet.sequence, self._highest & 0xFFFF)
            packet.index = self._highest + delta
            if -_RESTART <= delta <= 0:
                return True
            steady = packet.media_time == self._last[0]  # of the same frame: nothing to compute
            if 0 < delta <= _RESTART and (steady or not self._time_jumps(packet, codec, now)):
                self._highest = packet.index
                return True
            after, self._after_jump = self._after_jump, packet.sequence + 1 & 0xFFFF
            jumps = packet.sequence != after
        if jumps or now < self._restarted_at + _RESTARTS:
            return False
        if self.ssrc is not None:
            self._restarted_at = now
        self._start_stream(packet, codec, now)
        return True

    def _time_jumps(self, packet: Packet, codec: Codec, now: float) -> bool:
        """Whether its media time has not to do with the one before: a file begins again, a clock was set.

        Neither a pause, in which both clocks go on, nor a line that was cut, after which all comes late, is a jump.
        """
        media_time, at = self._last
        if (packet.media_time - media_time) & 0xFFFF_FFFF <= _TIME_JUMP * codec.clock_rate:
            return False
        step = time_delta(packet.media_time, media_time) / codec.clock_rate
        return abs(step) > _TIME_JUMP and abs(step - (now - at)) > _TIME_JUMP

    def _start_stream(self, packet: Packet, codec: Codec, now: float) -> None:
        """A new SSRC or codec, or a jump: nothing sent before goes with it, and every consumer begins anew."""
        self.restarts += self.ssrc is not None
        other = packet.ssrc != self.ssrc or codec.clock_rate != self.codec.clock_rate
        if other or self._time_jumps(packet, codec, now):
            self.ssrc = packet.ssrc
            self.reception = Reception(codec.clock_rate)
        self.history.clear()
        self.gaps.restart()
        renamed = codec.name != self.codec.name
        self.codec = codec
        self._starts_key_frame = key_frame_test(codec.name)
        # two rounds on, so that not even a late packet of the old stream comes after the first of the new one
        packet.index = self._highest = ((self._highest >> 16) + 2 << 16) + packet.sequence
        self._restart_consumers(packet.index)
        if renamed:
            self._on_codec(self)

    def _restart_consumers(self, start: int) -> None:
        self.start = start
        self._wanted = True
        for consumer in self.consumers:
            if consumer.producer is self:  # else it still shows another layer, and waits here already
                consumer.restart()

    def add(self, consumer: Consumer, now: float) -> None:
        """One more consumer; it waits for the next packet that starts a key frame, which is asked for if need be."""
        self.consumers.append(consumer)
        self.waiting.append(consumer)
        if not self.replayable():
            self.request_key_frame(now)

    def replayable(self) -> Sequence[Packet]:
        """What a new consumer can be started with at once: the packets from the latest key frame on, or none.

        None if it takes longer to send them than to wait for a key frame of a camera that is known to heed requests.
        """
        packets = self.history.since_key() if self.codec.kind == "video" else []
        if not packets or packets[0].index < self.start:
            return ()
        size = sum([len(packet.payload) for packet in packets])
        return packets if size <= _SHORT or not self.key_frames.heeded else ()

    def size(self) -> Size | None:
        """Of its pictures; None while no key frame has told."""
        key = self.history.start()
        if key is not None and key.index != self._sized_at:
            self._sized_at = key.index
            self._size = picture_size(self.codec.name, key.payload) or self._size
        return self._size

    def remove(self, consumer: Consumer) -> None:
        """No more packets for `consumer`."""
        self.consumers.remove(consumer)
        self.leave_waiting(consumer)

    def wait(self, consumer: Consumer) -> None:
        """A consumer of ours must find a key frame again."""
        if consumer not in self.waiting:
            self.waiting.append(consumer)

    def leave_waiting(self, consumer: Consumer) -> None:
        """A consumer of ours looks for no key frame."""
        if consumer in self.waiting:
            self.waiting.remove(consumer)

    def join_group(self, consumer: Consumer, rewrite: Rewrite) -> Group:
        """A consumer is up to date: from now on it gets what its group gets."""
        self.leave_waiting(consumer)
        group = self.groups.get(rewrite)
        if group is None:
            group = self.groups[rewrite] = Group(rewrite)
        group.join(consumer)
        return group

    def leave_group(self, consumer: Consumer, group: Group) -> None:
        """Undoes `join_group`, if that was called; an empty group is forgotten."""
        if consumer in group.members:
            group.leave(consumer)
            if not group.members:
                del self.groups[group.rewrite]

    def request_key_frame(self, now: float) -> None:
        """Somebody needs a key frame; coalesced (RFC 4585 section 6.3.1, RFC 5104 section 4.3.1)."""
        if self.codec.kind == "video" and self.key_frames.request(now):
            self._ask_key_frame(self)

    def tick(self, now: float) -> None:
        """Asks for a key frame that consumers want since their restart, or repeats a request that is due."""
        self._measure_bitrate(now)
        if self._wanted:
            self._wanted = False
            self.request_key_frame(now)
        if self.key_frames.due(now):
            self._ask_key_frame(self)

    def _measure_bitrate(self, now: float) -> None:
        at, octets = self._measured
        if now - at >= _MEASURED_OVER:
            bitrate = int((self.octets - octets) * 8 / (now - at))
            if bitrate:  # a layer that pauses is still the size it was
                self.bitrate = (self.bitrate + bitrate) // 2 if self.bitrate else bitrate
            self._measured = (now, self.octets)

    def stalled(self, now: float) -> bool:
        """Whether nothing has come for a while."""
        return now - self.heard_at > _STALLED

    def clock_told(self, ntp: int, media_time: int, now: float) -> None:
        """A sender report: at `ntp` (64-bit NTP, on our wall clock) the track's media time was `media_time`."""
        self.reception.clock_told(ntp, media_time, now)
        for tap in self.taps:
            tap.report(self, ntp, media_time, now)
