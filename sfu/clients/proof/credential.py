"""A peer's token as the peer itself sees it: shown as it is, or the key of a seal.

Pure. Reads claims without checking the signature: the server alone has the key, and decides.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, replace
from typing import Final

from sfu.access.rights import Use
from sfu.access.sealing import Seal
from sfu.signaling.broker_url import BrokerUrl

_DOOR_USER: Final = "token"
"""The server's own door reads the password only, which needs a user name (MQTT 3.1.1 section 3.1.2.9)."""
_RENEWED_SHARE: Final = 0.8
"""The part of a token's life after which it is renewed."""
_UNKNOWN_LIFE_S: Final = 300.0


class TokenSourceError(Exception):
    """A token that cannot be read, made or used now. The text says why, and has nothing of it."""


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """One token, or none. A token of use `sealed` is never shown; any other is."""

    token: str | None = None
    """The token to show; None: nothing, or a seal."""
    seal: Seal | None = None
    sub: str | None = None
    """The name in the token, which is the peer's id or its beginning."""
    until: float | None = None
    """End of the token's life, in seconds since 1970; None if it does not say."""
    since: float | None = None

    @classmethod
    def of(cls, token: str | None) -> Credential:
        """Returns the credential of a token. What has no known form is shown, and the server refuses it.

        Raises TokenSourceError for a token that should seal and cannot.
        """
        if not token:
            return cls()
        claims = _claims(token)
        sub, until, since = claims.get("sub"), _seconds(claims.get("exp")), _seconds(claims.get("iat"))
        name = sub if isinstance(sub, str) and sub else None
        if claims.get("use") != Use.SEALED:
            return cls(token, None, name, until, since)
        try:
            return cls(None, Seal.of_token(token), name, until, since)
        except ValueError:
            raise TokenSourceError("the token is damaged: copy all of it") from None

    @property
    def renewed_at(self) -> float | None:
        """Returns when a new token should take its place, in seconds since 1970; None: never."""
        if self.until is None:
            return None
        life = _UNKNOWN_LIFE_S if self.since is None else self.until - self.since
        return self.until - life * (1 - _RENEWED_SHARE)

    def login(self, url: BrokerUrl) -> BrokerUrl:
        """Returns the URL with the token as its password if it may lead to the server's own door (`ws://`)."""
        if self.token is None or not url.websocket or url.username is not None:
            return url
        return replace(url, username=_DOOR_USER, password=self.token)


def _claims(token: str) -> dict[str, object]:
    """Returns the claims of a JSON Web Token; none if it is another text."""
    parts = token.split(".")
    if len(parts) != 3:  # header, payload and signature (RFC 7515 section 3.1)
        return {}
    try:
        octets = base64.urlsafe_b64decode(parts[1].encode("ascii") + b"=" * (-len(parts[1]) % 4))
        claims = json.loads(octets)
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _seconds(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None
