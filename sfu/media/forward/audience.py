"""The audience: consumers that get the same bytes, sorted by the way these take.

Owns the answer to "who can be served in one batch", which holds until somebody joins, leaves or moves to another
address. Never sends and never counts.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfu.rtc.net.paths import Path, Targets
from sfu.rtc.net.srtp import SrtpContext

if TYPE_CHECKING:
    from sfu.media.forward.consumer import Consumer


class Audience:
    """Some consumers as they are now."""

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        self.relayed: list[Consumer] = []
        """Their selected pair is relayed by a TURN server: no address of ours to batch for."""
        self.unkeyed: list[Consumer] = []
        """They have no keys."""
        self.batches: list[tuple[Targets, list[Consumer]]] = []
        """All others: targets and, in the same order, the consumers behind them."""
        alike: dict[tuple[socket.socket, int], list[tuple[Path, SrtpContext, Consumer]]] = {}
        for consumer in consumers:
            path, keys = consumer.transport.agent.path, consumer.transport.sender
            if keys is None:
                self.unkeyed.append(consumer)
            elif path is None:
                self.relayed.append(consumer)
            else:
                alike.setdefault((path.socket, keys.overhead), []).append((path, keys, consumer))
        for members in alike.values():
            targets = Targets([(path, keys) for path, keys, _ in members])
            self.batches.append((targets, [consumer for _, _, consumer in members]))
