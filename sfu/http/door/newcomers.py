"""Connections at `/mqtt` whose client has not said CONNECT yet: few at a time, and none for long.

Owns their places. Never ends a connection itself: it says which one has to go.
"""

from __future__ import annotations

import asyncio
from typing import Final

PER_ADDRESS: Final = 8
"""Newcomers of one address. A page is one, for as long as its CONNECT is on the way."""


class Newcomer:
    """One connection that waits for its client's CONNECT. `turned_away` is set if another one needs its place."""

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.turned_away = asyncio.Event()


class Newcomers:
    """The places for `total` newcomers, of which one address gets `per_address` (0: any number).

    The address None is that of many clients (a proxy on this machine), and has no limit of its own.
    """

    def __init__(self, *, total: int = 64, per_address: int = PER_ADDRESS) -> None:
        self._total = total
        self.per_address = per_address
        self._waiting: dict[Newcomer, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def admit(self, address: str | None) -> Newcomer | None:
        """Returns a place; None if the address has its share. If all places are taken, the oldest newcomer goes.

        A real client says CONNECT at once: of many that wait, the one that has waited longest is the least real.
        """
        share = self.per_address if address is not None else 0
        if share and sum(other.address == address for other in self._waiting) >= share:
            return None
        if len(self._waiting) >= self._total:
            oldest = next(iter(self._waiting))
            oldest.turned_away.set()
            self.leave(oldest)
        newcomer = Newcomer(address)
        self._waiting[newcomer] = None
        return newcomer

    def leave(self, newcomer: Newcomer) -> None:
        """Frees the place: the client has said CONNECT, or has gone. Idempotent."""
        self._waiting.pop(newcomer, None)
