"""A consumer: one slot of one participant, and where in its own numbering the shown producer's packets go.

Owns the outgoing stream's numbering (RFC 3550: SSRC, sequence number, media time), which runs on without a jump
whatever producer feeds the slot. Never sends: `fanout` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sfu.media import rtcp
from sfu.media.group import Group, Layout, Rewrite
from sfu.media.rtp import Packet
from sfu.rtc.codec import Codec, matching
from sfu.rtc.description import ABS_SEND_TIME, AUDIO_LEVEL, CNAME, MID, VIDEO_ORIENTATION, Send
from sfu.rtc.transport import Transport

if TYPE_CHECKING:
    from sfu.media.producer import Producer

CARRIED: Final = (VIDEO_ORIENTATION, AUDIO_LEVEL, ABS_SEND_TIME)
"""Header extensions whose values go from producer to viewer, under the viewer's ids (RFC 8285)."""


class Drop(StrEnum):
    """Why a packet did not reach a consumer."""

    WAITING_FOR_KEY_FRAME = "waiting_for_key_frame"
    BEFORE_KEY_FRAME = "before_key_frame"
    CODEC = "codec"
    NOT_CONNECTED = "not_connected"
    REFUSED = "refused"


class Consumer:
    """What one slot receives: the packets of the producer attached to it, rewritten."""

    def __init__(self, mid: str, send: Send, transport: Transport) -> None:
        self.mid = mid
        self.kind = send.codecs[0].kind
        self.codecs: tuple[Codec, ...] = ()
        self.ssrc = send.ssrc
        self.transport = transport
        self.producer: Producer | None = None
        self.group: Group | None = None
        """The group it is in while its packets flow; None while it waits for a key frame or has no producer."""
        self.start = 0
        """Index of the key frame it began with."""
        self.drops: dict[Drop, int] = dict.fromkeys(Drop, 0)
        self.reported = False
        """Whether a sender report has told the present mapping of media time to wall time."""
        self._extensions: Mapping[str, int] = {}
        self._payload_type: int | None = None
        self._layout = Layout(None, ())
        self._clock_rate = 0
        self._packets = self._octets = 0  # sent before the present group, less what that had sent before us
        self._next_sequence: int | None = None
        self._last_time = 0
        self._last_at = 0.0
        self.negotiated(send)

    @property
    def packets(self) -> int:
        """Packets sent so far."""
        return self._packets + (self.group.packets if self.group else 0)

    @property
    def octets(self) -> int:
        """Bytes of payload sent so far."""
        return self._octets + (self.group.octets if self.group else 0)

    def negotiated(self, send: Send) -> None:
        """Takes over the viewer's payload types and extension ids (again, after a re-offer)."""
        if (self.codecs, self._extensions) != (send.codecs, send.extensions):
            self.codecs, self._extensions = send.codecs, send.extensions
            self.restart()

    def attach(self, producer: Producer | None, now: float) -> None:
        """Makes `producer` the one this slot shows; None empties it. A video consumer starts at the next key frame."""
        if producer is self.producer:
            return
        self._stop()
        if self.producer is not None:
            self.producer.remove(self)
        self.producer = producer
        if producer is not None:
            self._adapt(producer)
            producer.add(self, now)

    def restart(self) -> None:
        """Begins anew at the producer's next start: a new codec, a camera's new SSRC, a jump in its numbers."""
        self._stop()
        if self.producer is not None:
            self._adapt(self.producer)
            self.producer.wait(self)

    def _stop(self) -> None:
        """Leaves its group with the numbers that the next one must follow."""
        self.reported = False
        group, self.group = self.group, None
        if group is None:
            return
        if self.producer is not None:
            self.producer.leave_group(self, group)
        self._packets += group.packets
        self._octets += group.octets
        self._next_sequence = group.highest + group.rewrite.sequence_offset + 1
        self._last_time, self._last_at = group.last_time, group.last_at

    def _adapt(self, producer: Producer) -> None:
        codec = matching(producer.codec, self.codecs)
        self._payload_type = None if codec is None else codec.payload_type
        self._clock_rate = producer.codec.clock_rate
        mid_id = self._extensions.get(MID)
        both = [uri for uri in CARRIED if uri in producer.extensions and uri in self._extensions]
        self._layout = Layout(
            None if mid_id is None else (mid_id, self.mid.encode()),
            tuple((producer.extensions[uri], self._extensions[uri]) for uri in both),
        )

    def begin(self, packets: Sequence[Packet], now: float) -> Sequence[Packet]:
        """Looks for a key frame in a burst, joins a group if there is one, and returns what of the burst is due to it.

        What comes before, or all of it if there is none, is counted in `drops`.
        """
        producer, payload_type = self.producer, self._payload_type
        if producer is None or payload_type is None:
            self.drops[Drop.CODEC] += len(packets)
            return ()
        floor = producer.start
        position = next((at for at, p in enumerate(packets) if p.key and p.index >= floor), len(packets))
        self.drops[Drop.WAITING_FOR_KEY_FRAME] += position
        if position == len(packets):
            return ()
        key = packets[position]
        self.start = key.index
        sequence_offset, time_offset = self._offsets(key, now)
        rewrite = Rewrite(self.ssrc, payload_type, self._layout, sequence_offset, time_offset)
        self.group = producer.join_group(self, rewrite)
        self._packets -= self.group.packets
        self._octets -= self.group.octets
        return [packet for packet in packets[position:] if packet.index >= self.start]

    def sent(self, packets: Sequence[Packet]) -> None:
        """These were sent to this consumer alone, not with its group."""
        self._packets += len(packets)
        self._octets += sum(len(packet.payload) for packet in packets)

    def missed(self, packets: Sequence[Packet], reason: Drop) -> None:
        """These went to its group, but not to this consumer."""
        self.drops[reason] += len(packets)
        self._packets -= len(packets)
        self._octets -= sum(len(packet.payload) for packet in packets)

    def _offsets(self, key: Packet, now: float) -> tuple[int, int]:
        """Of sequence and media time, so that `key` follows what this slot sent last; none for its first producer."""
        if self._next_sequence is None:
            return 0, 0
        elapsed = int((now - self._last_at) * self._clock_rate)
        # at least a frame of 30/s, so that two frames never share a media time
        following = self._last_time + max(elapsed, self._clock_rate // 30)
        return self._next_sequence - key.index, following - key.media_time

    def sender_report(self, now: float) -> bytes | None:
        """RFC 3550 section 6.4.1, on this consumer's numbering: None until the producer's clock is known."""
        if self.producer is None or self.group is None:
            return None
        moment = self.producer.moment(now)
        if moment is None:
            return None
        self.reported = True
        ntp, media_time = moment
        report = rtcp.SenderReport(
            ssrc=self.ssrc,
            ntp=ntp,
            media_time=(media_time + self.group.rewrite.time_offset) & 0xFFFFFFFF,
            packets=self.packets & 0xFFFFFFFF,
            octets=self.octets & 0xFFFFFFFF,
        )
        return rtcp.sender_report(report, CNAME)
