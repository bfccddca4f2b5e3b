"""The sources of a peer's token: given once, a file that may be renewed, or the key of this machine's server.

Owns when a token is read or made again. Never judges one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from sfu.access.rights import TAB, Claims, Right, Use, valid_name
from sfu.access.tokens import mint
from sfu.clients.proof.credential import Credential, TokenSourceError
from sfu.signaling.topics import Leaf, Role

MINTED_S: Final = 3600.0
"""Life of a token that a command makes for itself."""
_KEPT_S: Final = 60.0
"""Time for which a made token serves further sessions."""
_RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    Role.PUB: frozenset({Right.PUBLISH}),
    Role.VIEW: frozenset({Right.VIEW}),
    Role.JOIN: frozenset({Right.VIEW, Right.PUBLISH}),
}


class TokenSource(Protocol):
    """The place where a peer's token comes from."""

    @property
    def renewable(self) -> bool:
        """Returns True if a refused or expired token may be followed by a good one."""
        ...

    @property
    def sub(self) -> str | None:
        """Returns the name that the token binds a peer's id to; None if any id will do. Raises TokenSourceError."""
        ...

    def current(self, leaf: Leaf) -> str | None:
        """Returns the token for a peer on this leaf, as it is now; None for no token. Raises TokenSourceError."""
        ...


def own_id(source: TokenSource | None, role: Role, kind: str) -> str:
    """Returns the id of a peer that was given none: what its token allows, else a random one of this kind.

    Raises TokenSourceError.
    """
    sub = None if source is None else source.sub
    if sub is None:
        return f"{kind}-{secrets.token_hex(3)}"
    return f"{sub}{TAB}{secrets.token_hex(3)}" if role is Role.VIEW else sub


def token_advice(leaf: Leaf) -> str:
    """Returns what helps a person whose peer on this leaf is refused."""
    role = "publish" if leaf.role is Role.PUB else leaf.role
    return (
        f"On the server's machine `sfu token {leaf.room} --role {role} --sub NAME` makes a token: give it here with "
        "--token @FILE"
    )


class GivenToken:
    """A token that stays as it is, or none."""

    renewable = False

    def __init__(self, token: str | None = None) -> None:
        self._token = token or None

    @property
    def sub(self) -> str | None:
        """See `TokenSource`."""
        return Credential.of(self._token).sub

    def current(self, leaf: Leaf) -> str | None:  # noqa: ARG002
        """See `TokenSource`."""
        return self._token


class TokenFile:
    """The first line of a file, read again for each session: after a renewal nothing need be restarted."""

    renewable = True

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def sub(self) -> str | None:
        """See `TokenSource`."""
        return Credential.of(self._read()).sub

    def current(self, leaf: Leaf) -> str | None:  # noqa: ARG002
        """See `TokenSource`."""
        return self._read()

    def _read(self) -> str:
        try:
            lines = self._path.read_text("utf-8").split()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise TokenSourceError(f"cannot read the token in {self._path}: {why}") from None
        if not lines:
            raise TokenSourceError(f"there is no token in {self._path}")
        return lines[0]


class MintedToken:
    """A short-lived token for each leaf, made with the key of this machine's server."""

    renewable = True
    sub = None

    def __init__(
        self, key: Callable[[], bytes | None], use: Use, *, lasts_s: float = MINTED_S, admin: bool = False
    ) -> None:
        """`key` reads the key, which may be replaced. `admin`: any peer id may use one token, below its room."""
        self._key = key
        self._use = use
        self._lasts_s = lasts_s
        self._admin = admin
        self._made: dict[Leaf, tuple[float, str]] = {}

    def current(self, leaf: Leaf) -> str | None:
        """See `TokenSource`."""
        now = time.time()
        at, token = self._made.get(leaf, (0.0, ""))
        if not 0 <= now - at < min(_KEPT_S, self._lasts_s / 2):
            token = self._mint(leaf, now)
            self._made = {leaf: (now, token)}
        return token

    def _mint(self, leaf: Leaf, now: float) -> str:
        try:
            key = self._key()
        except ValueError as error:
            raise TokenSourceError(str(error)) from None
        if key is None:
            raise TokenSourceError("the server's key cannot be read any more: start this again, or give it --token")
        own = valid_name(leaf.peer) and not self._admin
        sub, can = (leaf.peer, _RIGHTS[leaf.role]) if own else ("local", frozenset({Right.ADMIN}))
        claims = Claims(sub, (leaf.room,), can, now + self._lasts_s, secrets.token_urlsafe(9), self._use, now)
        return mint(key, claims)
