"""A consumer: one slot of one participant, and the numbering of the packets that the slot is sent.

Owns the numbers of the outgoing stream (RFC 3550: SSRC, sequence number, media time), which continue without a jump
when another producer feeds the slot, and the packets that may be sent again. Never sends: `fanout` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final, Protocol

from sfu.media.formats import rtx, vp8
from sfu.media.formats.rtp import Packet
from sfu.media.forward.group import Drop, ExtensionLayout, Group, Rewrite, Squeeze
from sfu.media.forward.retransmission import Retransmitter
from sfu.media.forward.sender_reports import SenderReports
from sfu.media.forward.stretch import Stretch
from sfu.media.ingest.producer import Producer
from sfu.rtc.sdp.codec import Codec, matching
from sfu.rtc.sdp.description import ABS_SEND_TIME, AUDIO_LEVEL, MID, VIDEO_ORIENTATION, Send
from sfu.rtc.transport import Transport

CARRIED: Final = (VIDEO_ORIENTATION, AUDIO_LEVEL)
"""Header extensions whose values go from producer to viewer, under the viewer's ids (RFC 8285)."""
_INDEX: Final = attrgetter("index")
_MAX_STRETCHES: Final = 3
"""Stretches that are remembered: a request for a packet from before two switches comes too late."""


class Source(Protocol):
    """The producer that feeds a consumer, and the consumer's place among others: a `Branch`."""

    producer: Producer

    def add(self, consumer: Consumer, now: float) -> None:
        """Adds a consumer, which waits for the next key frame."""

    def remove(self, consumer: Consumer) -> None:
        """Removes a consumer."""

    def wait(self, consumer: Consumer) -> None:
        """Makes one of the consumers wait for a key frame again."""

    def stop_waiting(self, consumer: Consumer) -> None:
        """Makes a consumer wait for no key frame."""

    def join_group(self, consumer: Consumer, rewrite: Rewrite) -> Group:
        """Puts a consumer that is up to date into the group of its rewrite, and returns that group."""
        ...

    def leave_group(self, consumer: Consumer, group: Group) -> None:
        """Takes a consumer out of a group, if it is a member."""


class Consumer:
    """The packets of the producer that is attached to one slot, rewritten for its viewer.

    A consumer starts with a key frame, in a group of its own, and joins the group of equal consumers once it is up to
    date.
    """

    def __init__(self, mid: str, send: Send, transport: Transport) -> None:
        self.mid = mid
        self.kind = send.codecs[0].kind
        self.codecs: tuple[Codec, ...] = ()
        self.ssrc = send.ssrc
        self.transport = transport
        self.source: Source | None = None
        """The branch of the producer that it shows."""
        self.following: Source | None = None
        """The branch that takes over at its next key frame: another layer of the same camera."""
        self.group: Group | None = None
        """Its group while packets flow; None while it waits for a key frame or shows no producer."""
        self.sparse = False
        """True if it gets key frames only, one at a time: its link carries no more."""
        self.pace: float | None = None
        """Bytes per second for packets that are not live; None while nothing is known about the link."""
        self.start = 0
        """Index of the key frame with which it started."""
        self.drops: dict[Drop, int] = dict.fromkeys(Drop, 0)
        self.repairs = Retransmitter()
        self.started_after: float | None = None
        """Seconds from `attach` to the first packet of the present producer; None until then."""
        self.reports = SenderReports()
        self._extensions: Mapping[str, int] = {}
        self._rtx: Mapping[int, int] = {}
        self._rtx_ssrc: int | None = None
        self._rtx_sequence = 0
        self._payload_type: int | None = None
        self._layout = ExtensionLayout(None, ())
        self.clock_rate = 0
        """Clock rate of the producer's codec, in Hz; 0 before the first producer."""
        self._packets = self._octets = 0  # sent before the present group, less what that group sent before we joined
        self._stretches: deque[Stretch] = deque(maxlen=_MAX_STRETCHES)
        self._attached_at = 0.0
        self._next_sequence: int | None = None
        self._last_time = 0
        self._last_at = 0.0
        self._last_picture: vp8.Numbers | None = None
        self.negotiated(send)

    @property
    def producer(self) -> Producer | None:
        """Returns the producer that it shows."""
        return None if self.source is None else self.source.producer

    @property
    def packets(self) -> int:
        """Returns the number of packets sent so far, without those sent again."""
        return self._packets + (self.group.packets if self.group else 0)

    @property
    def octets(self) -> int:
        """Returns the number of bytes of payload sent so far."""
        return self._octets + (self.group.octets if self.group else 0)

    def negotiated(self, send: Send) -> None:
        """Takes over the viewer's payload types and extension ids, at first and after each re-offer."""
        agreed = (self.codecs, self._extensions, self._rtx)
        self._rtx, self._rtx_ssrc = send.rtx, send.rtx_ssrc
        if agreed != (send.codecs, send.extensions, send.rtx):
            self.codecs, self._extensions = send.codecs, send.extensions
            self.restart()
            self.forget()  # a packet must never leave under the same number in another form

    # --- which producer

    def attach(self, source: Source | None, now: float) -> None:
        """Makes this slot show another producer; None empties it. A video consumer starts at a key frame."""
        self.follow(None, now)
        if source is self.source:
            return
        self._stop()
        if self.source is not None:
            self.source.remove(self)
        self.source = source
        self.start = 0  # indexes of two producers cannot be compared
        self.started_after, self._attached_at = None, now
        if source is not None:
            self._adapt(source.producer)
            source.add(self, now)
            if self.sparse:
                source.stop_waiting(self)  # it gets key frames at the pace of its link, never in one burst

    def follow(self, source: Source | None, now: float) -> None:
        """Switches to another producer at its next key frame, and shows the present one until then; None: stays."""
        if source is self.following:
            return
        if self.following is not None:
            self.following.remove(self)
        self.following = source
        if source is not None:
            source.add(self, now)
            source.producer.request_key_frame(now)  # a slot that shows something is not started from history

    def restart(self) -> None:
        """Starts anew at the producer's next key frame: its codec, SSRC or numbers have changed."""
        self._stop()
        if self.source is not None:
            self._adapt(self.source.producer)
            if not self.sparse:
                self.source.wait(self)

    def set_sparse(self, sparse: bool) -> None:
        """Sends key frames only from now on; or, from the next key frame on, everything again."""
        if sparse is self.sparse:
            return
        self.sparse = sparse
        if sparse:
            self._stop()
            self.forget()
            if self.source is not None:
                self.source.stop_waiting(self)
        elif self.source is not None:
            self.source.wait(self)

    def forget(self) -> None:
        """Sends no earlier packet again: on a thin link that would delay the packets that follow."""
        if self.group is None:
            self._stretches.clear()
            self.repairs.renew()

    def _stop(self) -> None:
        """Leaves its group, and notes the numbers with which the next group continues."""
        self.reports.current = False
        group, self.group = self.group, None
        if group is None:
            return
        self._stretches[-1].close()
        if self.source is not None:
            self.source.leave_group(self, group)
        self._packets += group.packets
        self._octets += group.octets
        if group.highest:  # otherwise it ended before its first packet, and the numbers before it still hold
            self._next_sequence = group.highest + group.rewrite.sequence_offset + 1
            self._last_time, self._last_at = group.last_time, group.last_at
            self._last_picture = vp8.numbers(vp8.moved(group.last_payload, group.rewrite.pictures))

    def _adapt(self, producer: Producer) -> None:
        codec = matching(producer.codec, self.codecs)
        self._payload_type = None if codec is None else codec.payload_type
        self.clock_rate = producer.codec.clock_rate
        mid_id = self._extensions.get(MID)
        # A packet that is sent again under its own number must be equal in each bit, or its encryption could be broken
        # (RFC 7714 section 8.1). So it carries the time at which it left this server only where RTX gives it another
        # number, and otherwise the time at which it left the camera.
        renumbered = self._payload_type in self._rtx
        carried = CARRIED if renumbered else (*CARRIED, ABS_SEND_TIME)
        both = [uri for uri in carried if uri in producer.extensions and uri in self._extensions]
        self._layout = ExtensionLayout(
            None if mid_id is None else (mid_id, self.mid.encode()),
            tuple((producer.extensions[uri], self._extensions[uri]) for uri in both),
            self._extensions.get(ABS_SEND_TIME) if renumbered else None,
        )

    # --- starts

    def begin(self, source: Source, packets: Sequence[Packet], now: float) -> Sequence[Packet]:
        """Looks for a key frame in a burst; opens a group for it and returns the packets that it is to be sent.

        Packets before the key frame, or all if there is none, are counted in `drops` unless others still feed the slot.
        """
        first = source.producer.start
        key = next((packet for packet in packets if packet.key and packet.index >= first), None)
        nothing_yet = self.group is None
        lead = () if key is None else source.producer.starts.lead(key)
        began = key is not None and self._open(source, key, now, lead=lead)
        # packets that overtook the key frame belong to it, too
        rest = sorted([packet for packet in packets if packet.index >= self.start], key=_INDEX) if began else []
        if nothing_yet:
            missed = Drop.CODEC if self._payload_type is None else Drop.WAITING_FOR_KEY_FRAME
            self.drops[missed] += len(packets) - len(rest)
        return [*lead, *rest] if rest else rest

    def begin_replay(self, packets: Sequence[Packet], now: float, duration: float) -> Group | None:
        """Starts with the key frame with which `packets` begin; all will be sent within `duration` seconds.

        Returns its own group, which rewrites them until `join`; None if it has started or cannot show the codec.
        """
        if self.source is None or (self.group is not None and not self.sparse):
            return None
        squeeze = Squeeze.of(packets, int(duration * self.clock_rate))
        at = next(number for number, packet in enumerate(packets) if packet.key)
        if not self._open(self.source, packets[at], now, squeeze, lead=packets[:at]):
            return None
        self.source.stop_waiting(self)
        return self.group

    def join(self, floor: int = 0) -> None:
        """Joins the group of equal consumers, which it shares from index `floor` on. A sparse consumer stays alone."""
        own, source = self.group, self.source
        if own is None or source is None or self.sparse:
            return
        group = source.join_group(self, own.rewrite)
        group.floor = max(group.floor, floor, self.start)
        group.continue_from(own)
        self.group = self._stretches[-1].group = group
        self._packets += own.packets - group.packets
        self._octets += own.octets - group.octets

    def _open(
        self, source: Source, key: Packet, now: float, squeeze: Squeeze | None = None, *, lead: Sequence[Packet]
    ) -> bool:
        """Starts a stretch with `lead` and `key`, in a group of its own; False if the viewer cannot show the codec."""
        self._stop()
        producer = source.producer
        if source is self.following:
            if self.source is not None:
                self.source.remove(self)
            self.source, self.following = source, None
            self._adapt(producer)
        if self._payload_type is None:
            return False
        first = lead[0] if lead else key
        sequence_offset, time_offset = self._offsets(first if squeeze is None else squeeze.applied(first), now)
        pictures = (0, 0)
        if producer.codec.name == "VP8" and self._last_picture is not None:
            pictures = vp8.offset(self._last_picture, vp8.numbers(key.payload))
        rewrite = Rewrite(self.ssrc, self._payload_type, self._layout, sequence_offset, time_offset, pictures)
        self.start = key.index
        self.group = Group(rewrite, squeeze)
        if self.started_after is None:
            self.started_after = now - self._attached_at
        self._stretches.append(Stretch(producer, self.group, key.index, lead))
        return True

    def _offsets(self, first: Packet, now: float) -> tuple[int, int]:
        """Returns offsets of sequence number and media time with which `first` follows the last packet; 0 at first."""
        if self._next_sequence is None:
            return 0, 0
        elapsed = int((now - self._last_at) * self.clock_rate)
        # at least one frame at 30/s, so that two frames never share a media time
        following = self._last_time + max(elapsed, self.clock_rate // 30)
        return self._next_sequence - first.index, following - first.media_time

    # --- feedback

    def missed(self, packets: Sequence[Packet], reason: Drop) -> None:
        """Counts packets that its group was sent and this consumer was not."""
        self.drops[reason] += len(packets)
        self._packets -= len(packets)
        self._octets -= sum(len(packet.payload) for packet in packets)

    def rewritten(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """Returns late packets as its present stretch has them: a replay has other media times than the group."""
        return self._stretches[-1].rewritten(packets, now)

    def resend(self, sequences: Sequence[int], now: float, rtt: float) -> list[bytes]:
        """Returns the packets to send for a NACK of these numbers, in plain text (RFC 4585 section 6.2.1).

        They are RTX packets (RFC 4588) where that was agreed. Unknown numbers, and packets beyond the budget, are
        counted in `repairs`.
        """
        resent = []
        for sequence in self.repairs.admit(sequences, now):
            for stretch in reversed(self._stretches):
                packet = stretch.find(sequence)
                if packet is not None:
                    break
            else:
                self.repairs.unknown += 1
                continue
            (plain,) = stretch.rewritten((packet,), now)
            if self.repairs.allow(sequence, len(plain), now, rtt):
                resent.append(self._renumbered(plain, stretch.payload_type))
        return resent

    def _renumbered(self, plain: bytes, payload_type: int) -> bytes:
        rtx_payload_type = self._rtx.get(payload_type)
        if rtx_payload_type is None or self._rtx_ssrc is None:
            return plain
        self._rtx_sequence += 1
        return rtx.wrap(plain, rtx_payload_type, self._rtx_ssrc, self._rtx_sequence)

    def sender_report(self, now: float) -> bytes | None:
        """Returns a sender report in this consumer's numbering (RFC 3550 section 6.4.1).

        Returns None until the clock of the producer is known.
        """
        if self.source is None or self.group is None:
            return None
        moment = self.source.producer.reception.moment(now)
        if moment is None:
            return None
        offset = self.group.rewrite.time_offset
        return self.reports.write(moment, self.ssrc, offset, packets=self.packets, octets=self.octets, now=now)
