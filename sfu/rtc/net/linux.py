"""What 64-bit Linux lays down for batched sockets: structures (recvmmsg(2), sendmmsg(2)), numbers (udp(7), socket(7)).

Owns no memory and makes no call; `native`, `ingress` and `intake` do.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

LINUX_64: Final = sys.platform == "linux" and sys.maxsize > 2**32
"""Whether what stands here holds."""
SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
SO_TIMESTAMPNS: Final = 35

MMSGHDR: Final = struct.Struct("=QI4xQQQQi4xI4x")
"""struct mmsghdr: name, namelen, iov, iovlen, control, controllen, flags, sent or received length."""
IOVEC: Final = struct.Struct("=QQ")
"""struct iovec: address, length."""
