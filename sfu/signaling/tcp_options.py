"""TCP options against delays of 40 ms on the way to the broker, most of the time that a join would take.

Nagle's algorithm holds a small segment back until the one before is acknowledged, and the other side delays that
acknowledgement (RFC 9293 sections 3.7.4 and 3.8.6.3). Owns both remedies: no Nagle on our side, and acknowledgements
without delay for the broker's.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Final

OPTIONS: Final = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Socket options for a connection, as (level, option, value)."""
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)


def acknowledge(sock: Any) -> None:
    """Acknowledges the received data now: Mosquitto in its default configuration sends nothing more before that.

    `sock`: a TCP socket, plain or TLS, or a transport's view of one. Does nothing with any other object, and on systems
    other than Linux.
    """
    setsockopt = getattr(sock, "setsockopt", None)
    if _QUICKACK is not None and setsockopt is not None:
        with contextlib.suppress(OSError):
            setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
