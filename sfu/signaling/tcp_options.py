"""What TCP would otherwise wait for between us and the broker: 40 ms here and there, most of what a join takes.

Nagle's algorithm holds a small segment back until the one before is acknowledged, and the other side delays that
acknowledgement (RFC 9293 sections 3.7.4 and 3.8.6.3). We can switch off ours, and not delay the broker's.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Final

OPTIONS: Final = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""For the socket of a connection, as (level, option, value)."""
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)


def acknowledge(sock: Any) -> None:
    """Acknowledges what has come, now: Mosquitto as it is shipped sends nothing more before.

    `sock`: a TCP socket, plain or TLS, or what a transport shows of it; of others, and elsewhere than on Linux, nothing
    is asked.
    """
    setsockopt = getattr(sock, "setsockopt", None)
    if _QUICKACK is not None and setsockopt is not None:
        with contextlib.suppress(OSError):
            setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
