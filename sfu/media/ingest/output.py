"""The way out of a producer's packets, as the producer sees it.

Owns this interface, and its form for a producer without viewers. Never knows who is fed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sfu.media.formats.rtp import Packet


class Output(Protocol):
    """The way out of a producer's packets: its branch of the fan-out."""

    @property
    def consumer_count(self) -> int:
        """Returns the number of consumers that are fed or wait to be."""
        ...

    def push(self, packets: Sequence[Packet]) -> None:
        """Takes packets, at least one, in the order in which they came."""

    def restart(self) -> None:
        """Starts all consumers anew: packets from now on do not continue those before."""


class NoOutput:
    """The `Output` of a producer that is recorded only."""

    consumer_count = 0

    def __init__(self, producer: object = None) -> None:
        """Takes the place of `Fanout.open`."""

    def push(self, packets: Sequence[Packet]) -> None:
        """Drops the packets."""

    def restart(self) -> None:
        """Does nothing."""
