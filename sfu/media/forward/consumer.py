"""A consumer: one slot of one participant, and where in its own numbering the shown producer's packets go.

Owns the outgoing stream's numbering (RFC 3550: SSRC, sequence number, media time), which runs on without a jump
whatever producer feeds the slot, and what of it the viewer may have sent again. Never sends: `fanout` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from sfu.media.formats import rtcp, rtx, vp8
from sfu.media.formats.rtp import Packet
from sfu.media.forward.group import ExtensionLayout, Group, Rewrite, Squeeze
from sfu.media.forward.retransmission import Retransmitter
from sfu.media.forward.stretch import Stretch
from sfu.rtc.sdp.codec import Codec, matching
from sfu.rtc.sdp.description import ABS_SEND_TIME, AUDIO_LEVEL, CNAME, MID, VIDEO_ORIENTATION, Send
from sfu.rtc.transport import Transport

if TYPE_CHECKING:
    from sfu.media.ingest.producer import Producer

CARRIED: Final = (VIDEO_ORIENTATION, AUDIO_LEVEL)
"""Header extensions whose values go from producer to viewer, under the viewer's ids (RFC 8285)."""
_INDEX: Final = attrgetter("index")
_REPORTS: Final = 8  # sender reports: a viewer speaks of the last one that came
_REMEMBERED: Final = 3  # stretches: who asks again for what came before two switches is too late


class Drop(StrEnum):
    """Why a packet did not reach a consumer."""

    WAITING_FOR_KEY_FRAME = "waiting_for_key_frame"
    BEFORE_KEY_FRAME = "before_key_frame"
    CODEC = "codec"
    NOT_CONNECTED = "not_connected"
    REFUSED = "refused"


class Consumer:
    """What one slot receives: the packets of the producer attached to it, rewritten.

    It begins with a key frame, in a group of its own, and joins those who get the same as soon as it is up to date.
    """

    def __init__(self, mid: str, send: Send, transport: Transport) -> None:
        self.mid = mid
        self.kind = send.codecs[0].kind
        self.codecs: tuple[Codec, ...] = ()
        self.ssrc = send.ssrc
        self.transport = transport
        self.producer: Producer | None = None
        self.following: Producer | None = None
        """The producer that takes over at its next key frame: another layer of the same camera."""
        self.group: Group | None = None
        """The group it is in while its packets flow; None while it waits for a key frame or has no producer."""
        self.sparse = False
        """Whether it gets key frames alone, one at a time: its link carries no more."""
        self.pace: float | None = None
        """Bytes a second in which to send what is not live; None while nothing is known of the link."""
        self.start = 0
        """Index of the key frame that it began with."""
        self.drops: dict[Drop, int] = dict.fromkeys(Drop, 0)
        self.repairs = Retransmitter()
        self.started_after: float | None = None
        """Seconds from the wish for the present producer to its first packet; None until then."""
        self.reported = False
        """Whether a sender report has told the present mapping of media time to wall time."""
        self._extensions: Mapping[str, int] = {}
        self._rtx: Mapping[int, int] = {}
        self._rtx_ssrc: int | None = None
        self._rtx_sequence = 0
        self._payload_type: int | None = None
        self._layout = ExtensionLayout(None, ())
        self.clock_rate = 0
        """Of the producer's codec; 0 before there was one."""
        self._packets = self._octets = 0  # sent before the present group, less what that had sent before us
        self._stretches: deque[Stretch] = deque(maxlen=_REMEMBERED)
        self._attached_at = 0.0
        self._told: deque[tuple[int, float]] = deque(maxlen=_REPORTS)  # by sender reports: LSR, and when
        self._next_sequence: int | None = None
        self._last_time = 0
        self._last_at = 0.0
        self._last_picture: vp8.Numbers | None = None
        self.negotiated(send)

    @property
    def packets(self) -> int:
        """Packets sent so far, not counting those sent again."""
        return self._packets + (self.group.packets if self.group else 0)

    @property
    def octets(self) -> int:
        """Bytes of payload sent so far."""
        return self._octets + (self.group.octets if self.group else 0)

    def negotiated(self, send: Send) -> None:
        """Takes over the viewer's payload types and extension ids (again, after a re-offer)."""
        agreed = (self.codecs, self._extensions, self._rtx)
        self._rtx, self._rtx_ssrc = send.rtx, send.rtx_ssrc
        if agreed != (send.codecs, send.extensions, send.rtx):
            self.codecs, self._extensions = send.codecs, send.extensions
            self.restart()
            self.forget()  # under its number a packet may not leave in another form than before

    # --- which producer

    def attach(self, producer: Producer | None, now: float) -> None:
        """Makes `producer` the one this slot shows; None empties it. A video consumer starts at a key frame."""
        self.follow(None, now)
        if producer is self.producer:
            return
        self._stop()
        if self.producer is not None:
            self.producer.remove(self)
        self.producer = producer
        self.start = 0  # no two producers' indexes compare
        self.started_after, self._attached_at = None, now
        if producer is not None:
            self._adapt(producer)
            producer.add(self, now)

    def follow(self, producer: Producer | None, now: float) -> None:
        """Goes over to `producer` at its next key frame and shows the present one until then; None: stays."""
        if producer is self.following:
            return
        if self.following is not None:
            self.following.remove(self)
        self.following = producer
        if producer is not None:
            producer.add(self, now)
            producer.request_key_frame(now)  # who shows something is started from no history

    def restart(self) -> None:
        """Begins anew at the producer's next start: a new codec, a camera's new SSRC, a jump in its numbers."""
        self._stop()
        if self.producer is not None:
            self._adapt(self.producer)
            if not self.sparse:
                self.producer.wait(self)

    def set_sparse(self, sparse: bool) -> None:
        """From now on key frames alone, or, from the next one on, everything again."""
        if sparse is self.sparse:
            return
        self.sparse = sparse
        if sparse:
            self._stop()
            self.forget()
            if self.producer is not None:
                self.producer.leave_waiting(self)
        elif self.producer is not None:
            self.producer.wait(self)

    def forget(self) -> None:
        """What was sent up to now is not sent again: on a thin link it would be in the way of what comes."""
        if self.group is None:
            self._stretches.clear()
            self.repairs.renew()

    def _stop(self) -> None:
        """Leaves its group with the numbers that the next one must follow."""
        self.reported = False
        group, self.group = self.group, None
        if group is None:
            return
        self._stretches[-1].close()
        if self.producer is not None:
            self.producer.leave_group(self, group)
        self._packets += group.packets
        self._octets += group.octets
        if group.highest:  # else it ended before its first packet was due, and what it would have followed stands
            self._next_sequence = group.highest + group.rewrite.sequence_offset + 1
            self._last_time, self._last_at = group.last_time, group.last_at
            self._last_picture = vp8.numbers(vp8.moved(group.last_payload, group.rewrite.pictures))

    def _adapt(self, producer: Producer) -> None:
        codec = matching(producer.codec, self.codecs)
        self._payload_type = None if codec is None else codec.payload_type
        self.clock_rate = producer.codec.clock_rate
        mid_id = self._extensions.get(MID)
        # Sent again under its own number a packet must not differ in a bit, or its encryption could be broken
        # (RFC 7714 section 8.1): it says when it left us only where RTX gives it another number, else when it left the
        # camera.
        renumbered = self._payload_type in self._rtx
        carried = CARRIED if renumbered else (*CARRIED, ABS_SEND_TIME)
        both = [uri for uri in carried if uri in producer.extensions and uri in self._extensions]
        self._layout = ExtensionLayout(
            None if mid_id is None else (mid_id, self.mid.encode()),
            tuple((producer.extensions[uri], self._extensions[uri]) for uri in both),
            self._extensions.get(ABS_SEND_TIME) if renumbered else None,
        )

    # --- beginnings

    def begin(self, producer: Producer, packets: Sequence[Packet], now: float) -> Sequence[Packet]:
        """Looks for a key frame in a burst of `producer`, opens a group of its own for it, returns what is due to it.

        What comes before, or all of it if there is none, is counted in `drops` unless others still feed this slot.
        """
        position = next((at for at, p in enumerate(packets) if p.key and p.index >= producer.start), len(packets))
        nothing_yet = self.group is None
        began = position < len(packets) and self._open(producer, packets[position], now)
        # one that overtook the key frame belongs to it all the same
        rest = sorted([packet for packet in packets if packet.index >= self.start], key=_INDEX) if began else []
        if nothing_yet:
            missed = Drop.CODEC if self._payload_type is None else Drop.WAITING_FOR_KEY_FRAME
            self.drops[missed] += len(packets) - len(rest)
        return rest

    def begin_replay(self, packets: Sequence[Packet], now: float, duration: float) -> Group | None:
        """Starts with the key frame `packets[0]`; all of them will be sent within `duration` seconds.

        Returns the group, its own, that rewrites them; `join` ends that. None if it has begun or cannot show the codec.
        """
        if self.producer is None or (self.group is not None and not self.sparse):
            return None
        squeeze = Squeeze.of(packets, int(duration * self.clock_rate))
        if not self._open(self.producer, packets[0], now, squeeze):
            return None
        self.producer.leave_waiting(self)
        return self.group

    def join(self, floor: int = 0) -> None:
        """Up to date: from `floor` on it gets what all others like it get. A sparse one stays alone."""
        own, producer = self.group, self.producer
        if own is None or producer is None or self.sparse:
            return
        group = producer.join_group(self, own.rewrite)
        group.floor = max(group.floor, floor, self.start)
        group.continue_from(own)
        self.group = self._stretches[-1].group = group
        self._packets += own.packets - group.packets
        self._octets += own.octets - group.octets

    def _open(self, producer: Producer, key: Packet, now: float, squeeze: Squeeze | None = None) -> bool:
        """A stretch begins with `key`, in a group of its own; False if the viewer cannot show the codec."""
        self._stop()
        if producer is self.following:
            if self.producer is not None:
                self.producer.remove(self)
            self.producer, self.following = producer, None
            self._adapt(producer)
        if self._payload_type is None:
            return False
        sequence_offset, time_offset = self._offsets(key if squeeze is None else squeeze.applied(key), now)
        pictures = (0, 0)
        if producer.codec.name == "VP8" and self._last_picture is not None:
            pictures = vp8.offset(self._last_picture, vp8.numbers(key.payload))
        rewrite = Rewrite(self.ssrc, self._payload_type, self._layout, sequence_offset, time_offset, pictures)
        self.start = key.index
        self.group = Group(rewrite, squeeze)
        if self.started_after is None:
            self.started_after = now - self._attached_at
        self._stretches.append(Stretch(producer, self.group, key.index))
        return True

    def _offsets(self, key: Packet, now: float) -> tuple[int, int]:
        """Of sequence and media time, so that `key` follows what this slot sent last; none for its first producer."""
        if self._next_sequence is None:
            return 0, 0
        elapsed = int((now - self._last_at) * self.clock_rate)
        # at least a frame of 30/s, so that two frames never share a media time
        following = self._last_time + max(elapsed, self.clock_rate // 30)
        return self._next_sequence - key.index, following - key.media_time

    # --- what the viewer says and hears

    def missed(self, packets: Sequence[Packet], reason: Drop) -> None:
        """These went to its group, but not to this consumer."""
        self.drops[reason] += len(packets)
        self._packets -= len(packets)
        self._octets -= sum(len(packet.payload) for packet in packets)

    def rewritten(self, packets: Sequence[Packet], now: float) -> list[bytes]:
        """Late packets from its present stretch, as it must get them: a replay's have other times than its group's."""
        return self._stretches[-1].rewritten(packets, now)

    def resend(self, sequences: Sequence[int], now: float, rtt: float) -> list[bytes]:
        """The packets, in plain text, to send for a NACK of these numbers (RFC 4585 section 6.2.1).

        As RTX (RFC 4588) where that was agreed; what is unknown or beyond the budget is counted in `repairs`.
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
        """RFC 3550 section 6.4.1, on this consumer's numbering: None until the producer's clock is known."""
        if self.producer is None or self.group is None:
            return None
        moment = self.producer.reception.moment(now)
        if moment is None:
            return None
        self.reported = True
        ntp, media_time = moment
        self._told.append((ntp >> 16 & 0xFFFF_FFFF, now))
        report = rtcp.SenderReport(
            ssrc=self.ssrc,
            ntp=ntp,
            media_time=(media_time + self.group.rewrite.time_offset) & 0xFFFFFFFF,
            packets=self.packets & 0xFFFFFFFF,
            octets=self.octets & 0xFFFFFFFF,
        )
        return rtcp.sender_report(report, CNAME)

    def round_trip(self, block: rtcp.ReportBlock, now: float) -> float | None:
        """Seconds to the viewer and back, by its report that came at `now` (RFC 3550 section 6.4.1); None if untold.

        By our own clock: what our sender reports tell is the camera's.
        """
        sent_at = next((at for lsr, at in self._told if lsr == block.lsr), None)
        trip = -1.0 if sent_at is None else now - sent_at - block.dlsr / 65536
        return trip if trip >= 0 else None
