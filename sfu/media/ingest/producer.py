"""A producer: one incoming stream, its latest packets, and the requests that its camera gets.

Owns the work that is done once for each incoming packet, however many consumers there are. Never renumbers, never
sends, and never knows who is fed: packets go on to its `Output`, requests to its `ProducerListener`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from sfu.media.formats.key_frame_detection import START
from sfu.media.formats.picture_size import Size
from sfu.media.formats.rtp import Packet, sequence_delta
from sfu.media.ingest.gaps import Gaps
from sfu.media.ingest.history import History
from sfu.media.ingest.key_frame_requests import KeyFrameRequests
from sfu.media.ingest.media_times import MediaTimes
from sfu.media.ingest.output import NoOutput, Output
from sfu.media.ingest.reception import Reception
from sfu.media.ingest.starts import Starts
from sfu.rtc.sdp.codec import Codec

_MAX_DROPOUT_PACKETS: Final = 3000  # a larger jump is a restart of the camera (RFC 3550 appendix A.1)
_RESTART_PAUSE_S: Final = 0.5  # between two restarts: each costs every viewer a key frame
_REPAIRED_AHEAD_PACKETS: Final = 64  # only the last packet of a burst may come by RTX first
_MAX_EXTENSIONS: Final = 16  # header extensions of one packet: browsers send fewer than half as many
_STALLED_S: Final = 1.0  # without a packet: browsers stop upper layers when their own link is thin
_MEASURED_OVER_S: Final = 1.0
_MAX_REPLAY_BYTES: Final = 400_000  # a longer replay from the key frame costs a viewer more than a fresh key frame
HISTORY_BYTES: Final = 8 << 20
"""Memory for a producer's latest packets, unless the settings say otherwise."""


class Tap(Protocol):
    """A recording, or anything else that takes a producer's packets as they are."""

    def packet(self, producer: Producer, packet: Packet, now: float) -> None:
        """Takes one packet with its index, late ones too. Must be quick and never raise."""

    def report(self, producer: Producer, ntp: int, media_time: int, now: float) -> None:
        """Takes a sender report: at `ntp` (64-bit NTP) the track's media time was `media_time`."""


class ProducerListener(Protocol):
    """The uplink to which a producer belongs."""

    def on_key_frame_wanted(self, producer: Producer) -> None:
        """Sends the camera a key frame request."""

    def on_missing(self, producer: Producer, sequences: Sequence[int]) -> None:
        """Sends the camera a NACK for these sequence numbers."""

    def on_codec(self, producer: Producer) -> None:
        """Notes that the codec has changed."""

    def on_bug(self, producer: Producer) -> None:
        """Ends the camera after an exception in the handling of its packets, which is the present exception."""


class Producer:
    """One incoming track of one participant."""

    def __init__(
        self,
        track: str,
        codecs: Sequence[Codec],
        extensions: Mapping[str, int],
        *,
        history_bytes: int = HISTORY_BYTES,
        listener: ProducerListener,
        open_output: Callable[[Producer], Output] = NoOutput,
    ) -> None:
        """`codecs` and `extensions` (id by URI) as negotiated; `open_output` makes the way out of its packets."""
        self.track = track
        self.codec = codecs[0]
        self.starts = Starts(self.codec)
        self.extensions = extensions
        self.taps: tuple[Tap, ...] = ()
        self.start = 0
        """Index of the first packet of the present stream."""
        self.ssrc: int | None = None
        self.reception = Reception(self.codec.clock_rate)
        self.key_frames = KeyFrameRequests()
        self.history = History(max_bytes=history_bytes)
        self.gaps = Gaps()
        self.times = MediaTimes()
        self.octets = 0
        """Bytes of payload received."""
        self.bitrate = 0
        """Recent bitrate, in bit/s."""
        self.heard_at = float("-inf")
        """Time of the latest packet, in seconds of the loop's clock."""
        self._measured = (0.0, 0)
        self.drops = {"unknown_payload_type": 0, "stale": 0}
        self.restarts = 0
        """Streams that replaced another: by a new SSRC or codec, or by a jump of numbers or of media time."""
        self.padding = 0
        """Packets with padding only, which viewers get, too: they have numbers."""
        self._codecs = {codec.payload_type: codec for codec in codecs}
        self._listener = listener
        self._highest = 0
        self._after_jump = -1
        self._restarted_at = float("-inf")
        self._wanted = False
        self.output = open_output(self)

    def negotiated(self, codecs: Sequence[Codec], extensions: Mapping[str, int]) -> None:
        """Takes over payload types and extension ids of a re-offer."""
        self._codecs = {codec.payload_type: codec for codec in codecs}
        if self._codecs.get(self.codec.payload_type) == self.codec:
            self._codecs[self.codec.payload_type] = self.codec  # the stream goes on: `receive` knows it by identity
        if self.extensions != extensions:
            self.extensions = extensions
            self._restart(self._highest + 1)

    def knows(self, repaired: Packet) -> bool:
        """True if a packet that was sent again belongs to the present stream: it must not start another."""
        delta = sequence_delta(repaired.sequence, self._highest & 0xFFFF)
        near = -_MAX_DROPOUT_PACKETS <= delta <= _REPAIRED_AHEAD_PACKETS
        return near and self._codecs.get(repaired.payload_type) is self.codec

    def receive(self, packet: Packet, now: float) -> bool:
        """Takes in one packet at `now` (seconds of the loop's clock); False when it may not be forwarded.

        Duplicates, packets that are too late for any use, and strays are counted as `stale`. Strays are packets of
        another SSRC right after a change, and single numbers far from those of the stream. A single media time far from
        those of the stream is corrected.
        """
        codec = self._codecs.get(packet.payload_type)
        if codec is None:
            self.drops["unknown_payload_type"] += 1
            return False
        if len(packet.extensions) > _MAX_EXTENSIONS:
            self._shorten(packet)
        if not self._place(packet, codec, now):
            self.drops["stale"] += 1
            return False
        self.reception.received(packet.sequence, packet.media_time, now)
        if packet.index == self._highest:
            self.times.note(packet.media_time, 1, now)
        if found := self.starts.test(packet.payload):
            self._note_start(packet, found)
        if not self.history.add(packet, now):
            self.drops["stale"] += 1
            return False
        self.padding += not packet.payload
        self._taken((packet,), len(packet.payload), keyed=packet.key, now=now)
        return True

    def receive_run(self, run: Sequence[Packet], now: float) -> Sequence[Packet]:
        """Takes in packets that follow each other (`rtp.follows`), as `receive`; returns those to forward."""
        first = run[0]
        if not self._goes_on(first, now):
            return [packet for packet in run if self.receive(packet, now)]
        test, index, octets, keyed = self.starts.test, self._highest, 0, False
        for packet in run:
            index += 1
            packet.index = index
            octets += len(packet.payload)
            if found := test(packet.payload):
                keyed = self._note_start(packet, found) or keyed
            elif not packet.payload:
                self.padding += 1
            if len(packet.extensions) > _MAX_EXTENSIONS:
                self._shorten(packet)
        self._highest = index
        self.reception.received(first.sequence, first.media_time, now, len(run))
        self.times.note(first.media_time, len(run), now)
        self.history.extend(run, octets, now)
        self._taken(run, octets, keyed=keyed, now=now)
        return run

    def _note_start(self, packet: Packet, found: int) -> bool:
        """Notes what begins in a packet (`Starts.test`); True if a decoder can start with it."""
        packet.key = bool(found & START)
        if self.codec.kind == "video":
            self.starts.note(packet.payload, found)
        return packet.key

    def _goes_on(self, packet: Packet, now: float) -> bool:
        """True if this is the next packet of the present stream."""
        codec = self.codec
        if packet.sequence != self._highest + 1 & 0xFFFF or packet.ssrc != self.ssrc:
            return False
        known = self._codecs.get(packet.payload_type) is codec
        return known and not self.times.jumps(packet.media_time, codec.clock_rate, now)

    def _shorten(self, packet: Packet) -> None:
        agreed = self.extensions.values()
        packet.extensions = {number: value for number, value in packet.extensions.items() if number in agreed}

    def _taken(self, packets: Sequence[Packet], octets: int, *, keyed: bool, now: float) -> None:
        """Counts packets that are forwarded, in the order of their indexes; `keyed`: a key frame starts in them."""
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
            self._listener.on_missing(self, [index & 0xFFFF for index in missing])
        if self.gaps.wants_key_frame() and self.output.consumer_count:
            self.request_key_frame(now)

    def _place(self, packet: Packet, codec: Codec, now: float) -> bool:
        """Gives a packet its index, in the present stream or as the first packet of a new one; False for a stray."""
        jumps = False
        if packet.ssrc == self.ssrc and codec is self.codec:
            delta = sequence_delta(packet.sequence, self._highest & 0xFFFF)
            packet.index = self._highest + delta
            if -_MAX_DROPOUT_PACKETS <= delta <= 0:
                packet.media_time = self.times.of_late(packet.media_time)
                return True
            if 0 < delta <= _MAX_DROPOUT_PACKETS:
                if self._keeps_time(packet, codec, now):
                    self._highest = packet.index
                    return True
            else:
                after, self._after_jump = self._after_jump, packet.sequence + 1 & 0xFFFF
                jumps = packet.sequence != after
        if jumps or now < self._restarted_at + _RESTART_PAUSE_S:
            return False
        if self.ssrc is not None:
            self._restarted_at = now
        self._start_stream(packet, codec, now)
        return True

    def _keeps_time(self, packet: Packet, codec: Codec, now: float) -> bool:
        """True unless another stream begins with this packet; corrects a single media time that is wrong."""
        if not self.times.jumps(packet.media_time, codec.clock_rate, now):
            return True
        media_time = self.times.instead(packet.media_time, codec.clock_rate, now)
        if media_time is None:
            return False
        packet.media_time = media_time
        return True

    def _start_stream(self, packet: Packet, codec: Codec, now: float) -> None:
        """Starts a stream after a new SSRC, a new codec or a jump: every consumer starts anew."""
        self.restarts += self.ssrc is not None
        other = packet.ssrc != self.ssrc or codec.clock_rate != self.codec.clock_rate
        if other or self.times.jumps(packet.media_time, codec.clock_rate, now):
            self.ssrc = packet.ssrc
            self.reception = Reception(codec.clock_rate)
        self.history.clear()
        self.gaps.restart()
        self.times.restart()
        renamed = codec.name != self.codec.name
        self.codec = codec
        self.starts.use(codec)
        # two rounds higher, so that even late packets of the old stream have lower indexes than the new one
        packet.index = self._highest = ((self._highest >> 16) + 2 << 16) + packet.sequence
        self._restart(packet.index)
        if renamed:
            self._listener.on_codec(self)

    def _restart(self, start: int) -> None:
        self.start = start
        self._wanted = True
        self.output.restart()

    def replayable(self) -> Sequence[Packet]:
        """Returns the packets from the latest key frame on, with which a new consumer can start at once; or none.

        The parameter sets that the key frame lacks come first (`Starts.lead`). Returns none if sending all takes longer
        than waiting for a key frame of a camera that heeds requests.
        """
        packets = self.history.since_key() if self.codec.kind == "video" else []
        if not packets or packets[0].index < self.start:
            return ()
        size = sum([len(packet.payload) for packet in packets])
        if size > _MAX_REPLAY_BYTES and self.key_frames.heeded:
            return ()
        return [*lead, *packets] if (lead := self.starts.lead(packets[0])) else packets

    def key_frame(self) -> Sequence[Packet]:
        """Returns the latest key frame, after the parameter sets that it lacks; nothing until it is whole."""
        packets = self.history.key_frame()
        return [*self.starts.lead(packets[0]), *packets] if packets else ()

    def size(self) -> Size | None:
        """Returns the size of its pictures; None before the first key frame."""
        return self.starts.size(self.history.start())

    def request_key_frame(self, now: float) -> None:
        """Requests a key frame; requests are coalesced (RFC 4585 section 6.3.1, RFC 5104 section 4.3.1)."""
        if self.codec.kind == "video" and self.key_frames.request(now):
            self._listener.on_key_frame_wanted(self)

    def on_bug(self) -> None:
        """Ends the camera, and none of its viewers, after an exception on the way out, which is the present one."""
        self._listener.on_bug(self)

    def tick(self, now: float) -> None:
        """Requests the key frame that is needed since a restart, or repeats a request that is due."""
        self._measure_bitrate(now)
        heard = self.ssrc is not None
        self.starts.check(now, heard=heard, strange=not heard and self.drops["unknown_payload_type"] > 0)
        if self._wanted:
            self._wanted = False
            self.request_key_frame(now)
        if self.key_frames.due(now):
            self._listener.on_key_frame_wanted(self)

    def _measure_bitrate(self, now: float) -> None:
        at, octets = self._measured
        if now - at >= _MEASURED_OVER_S:
            bitrate = int((self.octets - octets) * 8 / (now - at))
            if bitrate:  # a layer that pauses keeps its last bitrate
                self.bitrate = (self.bitrate + bitrate) // 2 if self.bitrate else bitrate
            self._measured = (now, self.octets)

    def stalled(self, now: float) -> bool:
        """True if no packet has come for a second."""
        return now - self.heard_at > _STALLED_S

    def note_clock(self, ntp: int, media_time: int, now: float) -> None:
        """Takes a sender report: at `ntp` (64-bit NTP, on our wall clock) the media time was `media_time`."""
        self.reception.note_clock(ntp, media_time, now)
        for tap in self.taps:
            tap.report(self, ntp, media_time, now)
