"""The sender of a message: what it has proven already, and the way back to it.

Pure. Knows neither the broker nor the door that the message came through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sfu.access.rights import Claims

Reply = Callable[[bytes], None]
"""Sends one signalling message, as bytes, to the peer of a leaf."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One sender on one leaf."""

    reply: Reply
    claims: Claims | None = None
    """What the sender has proven; None if nothing: then the message must."""
    kid: str | None = None
    """The open part of the token that seals its messages; None if they are not sealed."""

    def continues(self, other: Caller) -> bool:
        """Returns True if both are the same person on the same way: one may go on with a session of the other."""
        mine, theirs = (None if caller.claims is None else caller.claims.sub for caller in (self, other))
        return self.kid == other.kid and mine == theirs
