"""The rules of leaves: what a message must show before a peer may begin a session.

Owns the texts that tell a refused peer what to do. Never knows how a message came, or what an offer says.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from sfu.access.authority import Authority
from sfu.access.rights import Claims, Right
from sfu.access.tokens import TokenError
from sfu.signaling.topics import Leaf


class LeafMode(StrEnum):
    """The proof that the server asks for on a leaf."""

    OPEN = "open"
    """Nothing: `access.mode` is open."""
    TRUSTED = "trusted"
    """Nothing, since the broker knows who may write there; a token that is shown must be good."""
    TOKENS = "tokens"
    """A token."""
    SEALED = "sealed"
    """A seal that is made with a token, which is not sent."""


class NotAllowedError(Exception):
    """A peer that may not begin a session; the text says what to do. It repeats nothing of a token."""


@dataclass(frozen=True, slots=True)
class LeafRules:
    """The rules of one server. `legacy`: the rooms, with their sub-rooms, in which nothing is asked."""

    mode: LeafMode = LeafMode.OPEN
    legacy: Collection[str] = ()
    authority: Authority | None = None

    def public(self, room: str) -> bool:
        """Returns True if everybody at the broker may know what happens in the room."""
        return self.mode is not LeafMode.SEALED or self.is_legacy(room)

    def is_legacy(self, room: str) -> bool:
        """Returns True for a room in which peers need no token, and for those below it."""
        return any(room == own or room.startswith(own + "/") for own in self.legacy)

    def judge(self, leaf: Leaf, token: str | None, proven: Claims | None) -> Claims | None:
        """Returns whose session it would be; None if that is not asked. Raises NotAllowedError.

        `proven`: what the sender has shown before, at the door or by its seal; else the message's `token` counts.
        """
        if self.authority is None:
            return None
        try:
            claims = self.authority.read(token) if proven is None and token is not None else proven
        except TokenError as error:
            raise NotAllowedError(str(error)) from error
        if claims is None:
            if self.mode in (LeafMode.TOKENS, LeafMode.SEALED) and not self.is_legacy(leaf.room):
                raise NotAllowedError(self._missing(leaf))
            return None
        if (fault := self.authority.fault(claims)) is not None:
            raise NotAllowedError(fault)
        if not claims.may_use(leaf):
            raise NotAllowedError(
                f"this token does not allow {leaf.role} as {leaf.peer} in {leaf.room}: it is for another room, role or "
                "name (`sfu token` makes one)"
            )
        if proven is None and not self.public(leaf.room):
            raise NotAllowedError(f"a token that strangers have seen does not do here: {self._missing(leaf)}")
        return claims

    def may_command(self, room: str, right: Right, token: str | None, proven: Claims | None) -> bool:
        """Returns True if a command for a room may be obeyed; `token` and `proven` as in `judge`."""
        if self.authority is None:
            return True
        try:
            claims = self.authority.read(token) if proven is None and token is not None else proven
        except TokenError:
            return False
        if claims is None or (proven is None and not self.public(room)):
            return claims is None and (self.mode is LeafMode.TRUSTED or self.is_legacy(room))
        return self.authority.fault(claims) is None and claims.may(right, room)

    def fault(self, claims: Claims | None) -> str | None:
        """Returns why a session with these claims must end; None while it may go on."""
        return None if claims is None or self.authority is None else self.authority.fault(claims)

    def _missing(self, leaf: Leaf) -> str:
        role = {"pub": "publish"}.get(leaf.role, str(leaf.role))
        sealed = " --sealed" if self.mode is LeafMode.SEALED else ""
        account = (
            ", give the server an account at the broker (SFU_BROKER=mqtt://user:password@host), or set "
            "SFU_ACCESS__BROKER=trusted if all who reach the broker may write"
        )
        other = account if self.mode is LeafMode.SEALED else ""
        return (
            f"a token is needed: make one with `sfu token {leaf.room} --role {role} --sub {leaf.peer}{sealed}` on the "
            f"server's machine, or let everybody into this room with SFU_ACCESS__LEGACY={leaf.room}{other}"
        )
