"""A viewer's own UDP port that asyncio can stop reading; another reader then passes its datagrams back.

Owns the delivery of those datagrams to the ICE agent. Waking the event loop for each burst of each viewer would cost
more CPU than all other work, and would make the server's sends slower.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from sfu.rtc.net import stun
from sfu.rtc.net.port import Listener, ResponseHandler, UdpPort
from sfu.rtc.net.stun import Address


class DetachablePort(UdpPort):
    """The port of one ICE agent."""

    def __init__(self, sockets: Sequence[socket.socket], *, sweep_interval: float = 1.0) -> None:
        super().__init__(sockets, sweep_interval=sweep_interval)
        self._agent: Listener | None = None
        self._awaited: dict[bytes, ResponseHandler] = {}
        self._validated_addresses: set[Address] = set()

    def register(self, ufrag: str, listener: Listener) -> None:
        """See `UdpPort`."""
        self._agent = listener
        super().register(ufrag, listener)

    def validate(self, address: Address, listener: Listener) -> bool:
        """See `UdpPort`."""
        self._validated_addresses.add(address)
        return super().validate(address, listener)

    def expect(self, transaction_id: bytes, handler: ResponseHandler) -> bool:
        """See `UdpPort`."""
        self._awaited[transaction_id] = handler
        return super().expect(transaction_id, handler)

    def forget(self, transaction_id: bytes) -> None:
        """See `UdpPort`."""
        self._awaited.pop(transaction_id, None)
        super().forget(transaction_id)

    def detach(self) -> None:
        """Makes asyncio stop reading the sockets."""
        for sock in self.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())

    def deliver_media(self, data: bytes) -> None:
        """Delivers one SRTP packet from any address: its authentication tag proves the sender."""
        if self._agent is not None:
            self._agent.on_data(data)

    def deliver(self, data: bytes, sock: socket.socket, address: Address) -> None:
        """Delivers one datagram that another reader read from `sock`."""
        if not data or self._agent is None:
            self.drops["empty"] += 1
        elif stun.is_message(data):
            self._deliver_stun(data, sock, address, self._agent)
        elif address in self._validated_addresses:
            self._agent.on_data(data)
        else:
            self.drops["unvalidated"] += 1

    def _deliver_stun(self, data: bytes, sock: socket.socket, address: Address, agent: Listener) -> None:
        if stun.message_class(data) is stun.Class.REQUEST:
            agent.on_request(data, sock, address)
        elif (handler := self._awaited.get(stun.transaction_id(data))) is not None:
            handler(data, address)
        else:
            self.drops["unexpected_response"] += 1
