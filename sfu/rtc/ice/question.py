"""The question whether anybody is there at an address, and the bound of what is sent there before the answer.

Pure: never sends, never waits. An authenticated check shows who sent it, not that its source address is his: that can
be forged, and media would be sent to somebody who never asked for it (RFC 8827 section 9.3, RFC 9147 section 5.1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from sfu.rtc.net import stun
from sfu.rtc.net.paths import Path
from sfu.rtc.net.stun import Address

AMPLIFICATION: Final = 3
"""Bytes that may be sent for each byte that came, while nobody has answered (as RFC 9000 section 8.1)."""
_MAX_HELD: Final = 16
"""Datagrams that wait for the answer: two flights of a DTLS handshake."""


class Question:
    """A check of ours to an address whose owner has not answered yet."""

    def __init__(self, path: Path, *, username: str, pwd: str) -> None:
        """Takes the ufrags of both, the peer's first, and the peer's password."""
        request = stun.request(username, pwd)
        self.path = path
        self.data = bytes(request)
        self.asked_at = float("-inf")
        """When the check was first sent, or first after a pause, in seconds of the agent's clock."""
        self.transaction_id = request.transaction_id
        self._key = pwd.encode()
        self._allowance = 0
        self._held: deque[bytes] = deque()

    def heard(self, size: int) -> None:
        """Notes `size` bytes from the address."""
        self._allowance += AMPLIFICATION * size

    def take(self, size: int) -> bool:
        """Uses up `size` bytes of what may be sent; False if that is too much."""
        if size > self._allowance:
            return False
        self._allowance -= size
        return True

    def hold(self, data: bytes) -> bool:
        """Keeps a datagram until there is an answer or more may be sent; False if too many wait."""
        if len(self._held) >= _MAX_HELD:
            return False
        self._held.append(data)
        return True

    @property
    def waiting(self) -> bool:
        """Returns True if datagrams wait: another one must not overtake them."""
        return bool(self._held)

    def released(self, *, answered: bool) -> Iterator[bytes]:
        """Yields the datagrams that may be sent now: all of them after the answer."""
        while self._held and (answered or self.take(len(self._held[0]))):
            yield self._held.popleft()

    def answered_by(self, data: bytes, address: Address) -> bool:
        """Returns True if `data`, a response to `transaction_id`, is the peer's and came from the address itself."""
        return address == self.path.address and stun.agrees(data, self._key)
