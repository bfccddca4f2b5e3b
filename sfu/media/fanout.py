"""The fan-out: one pass over all consumers for each burst that came in.

Owns the order of work on the way out, and the arenas. A burst is what arrived in one turn of the event loop: its
packets are rewritten and encrypted for one consumer after the other, and leave together. Never awaits, never raises.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from sfu.media.consumer import Consumer, Drop
from sfu.media.producer import Producer
from sfu.media.rtp import Packet
from sfu.rtc.native import RTP_HEADER, Egress, Rewritten


class Fanout:
    """All media on its way out of one process."""

    def __init__(self, *, call_soon: Callable[[Callable[[], None]], object], clock: Callable[[], float]) -> None:
        self.forwarded = 0
        """Packets handed to the kernel or to a relay."""
        self._call_soon = call_soon
        self._clock = clock
        self._bursts: dict[Producer, list[Packet]] = {}
        self._egresses: dict[socket.socket, Egress] = {}

    def push(self, producer: Producer, packet: Packet) -> None:
        """Queues one packet of `producer` for the pass at the end of this turn of the loop."""
        if not self._bursts:
            self._call_soon(self.flush)
        burst = self._bursts.get(producer)
        if burst is None:
            self._bursts[producer] = [packet]
        else:
            burst.append(packet)

    def flush(self) -> None:
        """Sends everything that was pushed."""
        bursts, self._bursts = self._bursts, {}
        now = self._clock()
        for producer, packets in bursts.items():
            for consumer in tuple(producer.consumers):  # a close inside the pass must not skip a neighbour
                rewritten = consumer.rewrite(packets, now)
                if rewritten:
                    self._send(consumer, rewritten)
        for egress in self._egresses.values():
            egress.flush()

    def _send(self, consumer: Consumer, packets: Sequence[Rewritten]) -> None:
        transport = consumer.transport
        srtp, path = transport.sender, transport.agent.path
        if srtp is None:
            consumer.drops[Drop.NOT_CONNECTED] += len(packets)
        elif path is None:  # the selected pair is relayed by a TURN server: no address of ours to batch for
            for head, sequence, media_time, body in packets:
                transport.send_rtp(RTP_HEADER.pack(head, sequence, media_time, consumer.ssrc) + body)
            self.forwarded += len(packets)
        else:
            egress = self._egresses.get(path.socket)
            if egress is None:
                egress = self._egresses[path.socket] = Egress(path.socket)
            refused = egress.write(path, srtp, consumer.ssrc, packets)
            consumer.drops[Drop.REFUSED] += refused
            self.forwarded += len(packets) - refused

    def refused(self) -> dict[str, int]:
        """Packets that the kernel did not take, by errno name."""
        total: dict[str, int] = {}
        for egress in self._egresses.values():
            for name, count in egress.refused.items():
                total[name] = total.get(name, 0) + count
        return total
