"""A viewer's own UDP port, which can be taken away from asyncio: then somebody else reads it and hands datagrams on.

Owns who hears what is handed on. A wake-up of the event loop for each burst of each viewer would cost more than all
the rest, and the server's sends would pay for waking it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from sfu.rtc.net import stun
from sfu.rtc.net.port import Listener, ResponseHandler, UdpPort
from sfu.rtc.net.stun import Address


class DetachablePort(UdpPort):
    """A port of one agent."""

    def __init__(self, sockets: Sequence[socket.socket], *, sweep_interval: float = 1.0) -> None:
        super().__init__(sockets, sweep_interval=sweep_interval)
        self._agent: Listener | None = None
        self._awaited: dict[bytes, ResponseHandler] = {}
        self._proven: set[Address] = set()

    def register(self, ufrag: str, listener: Listener) -> None:
        """See `UdpPort`."""
        self._agent = listener
        super().register(ufrag, listener)

    def validate(self, address: Address, listener: Listener) -> bool:
        """See `UdpPort`."""
        self._proven.add(address)
        return super().validate(address, listener)

    def expect(self, transaction_id: bytes, handler: ResponseHandler) -> bool:
        """See `UdpPort`."""
        self._awaited[transaction_id] = handler
        return super().expect(transaction_id, handler)

    def forget(self, transaction_id: bytes) -> None:
        """See `UdpPort`."""
        self._awaited.pop(transaction_id, None)
        super().forget(transaction_id)

    def take_away(self) -> None:
        """From now on asyncio no longer reads."""
        for sock in self.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())

    def hand_on_media(self, data: bytes) -> None:
        """One SRTP packet that was read elsewhere, wherever it came from: its tag proves whose it is."""
        if self._agent is not None:
            self._agent.on_data(data)

    def hand_on(self, data: bytes, sock: socket.socket, address: Address) -> None:
        """One datagram that was read from `sock` elsewhere."""
        if not data or self._agent is None:
            self.drops["empty"] += 1
        elif stun.is_message(data):
            self._hand_on_stun(data, sock, address, self._agent)
        elif address in self._proven:
            self._agent.on_data(data)
        else:
            self.drops["unvalidated"] += 1

    def _hand_on_stun(self, data: bytes, sock: socket.socket, address: Address, agent: Listener) -> None:
        if stun.message_class(data) is stun.Class.REQUEST:
            agent.on_request(data, sock, address)
        elif (handler := self._awaited.get(stun.transaction_id(data))) is not None:
            handler(data, address)
        else:
            self.drops["unexpected_response"] += 1
