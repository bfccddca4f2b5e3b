"""Tokens: claims to JSON Web Tokens and back (RFC 7519), signed with the server's key (HS256).

Owns the names of the claims and every fault that a token can have. Pure: the time and new ids come in as arguments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from sfu.access.rights import EVERYWHERE, Claims, Right, Use, valid_name
from sfu.signaling.topics import valid_room

AUDIENCE: Final = "sfu"
MAX_TOKEN_BYTES: Final = 1024
KEY_BYTES: Final = 32
_ALGORITHM: Final = "HS256"
_REQUIRED: Final = ["aud", "sub", "exp", "jti", "room", "can"]
_MAX_NAMES: Final = 32
"""The most rooms of one token."""
_LATEST_S: Final = 253_402_300_799.0
"""End of the year 9999, in seconds since 1970: no later time can be written."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,16})?")


class TokenError(Exception):
    """A token that is not accepted; the text says why, and what to do. It repeats nothing of the token."""


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The key that signs, and the one before it, which is still accepted. Each has 32 bytes or more."""

    current: bytes
    old: bytes | None = None

    @property
    def all(self) -> tuple[bytes, ...]:
        """Returns the keys that are accepted, the one that signs first."""
        return (self.current,) if self.old is None else (self.current, self.old)


def valid_id(text: str) -> bool:
    """Returns True if `text` can be the id (jti) of a token."""
    return _ID.fullmatch(text) is not None


def mint(key: bytes, claims: Claims) -> str:
    """Returns the token of these claims. Raises ValueError for a name, room or time that no token may have."""
    if not valid_name(claims.sub):
        raise ValueError(f"{claims.sub!r} is no name: use up to 48 letters, digits, _ and -, without --")
    for room in claims.room:
        if room != EVERYWHERE and not valid_room(room):
            raise ValueError(f"{room!r} is no room")
    if len(claims.room) > _MAX_NAMES:
        raise ValueError(f"a token has at most {_MAX_NAMES} rooms: name a room above them")
    if not claims.until <= _LATEST_S:
        raise ValueError("a token ends before the year 10000")
    fields: dict[str, Any] = {
        "aud": AUDIENCE,
        "sub": claims.sub,
        "room": list(claims.room),
        "can": sorted(claims.can),
        "iat": int(claims.since),
        "exp": int(claims.until),
        "jti": claims.jti,
    }
    if claims.use is not Use.ACCESS:
        fields["use"] = str(claims.use)
    if claims.stamp is not None:
        fields["stamp"] = claims.stamp
    token = jwt.encode(fields, key, algorithm=_ALGORITHM)
    if len(token) > MAX_TOKEN_BYTES:
        raise ValueError(f"a token has at most {MAX_TOKEN_BYTES} bytes: name fewer rooms, or a room above them")
    return token


def read(keys: Keys, token: str, now: float) -> Claims:
    """Returns the claims of a token. `now` is in seconds since 1970. Raises TokenError."""
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenError(f"a token has at most {MAX_TOKEN_BYTES} bytes")
    claims = _claims(_fields(keys, token))
    if claims.until <= now:
        raise TokenError("this token has expired: ask for a new one, or make one with `sfu token`")
    return claims


def _fields(keys: Keys, token: str) -> Mapping[str, Any]:
    """Returns the fields behind a good signature. Times are looked at by `read`, with the caller's clock."""
    for key in keys.all:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenError("this is no token of this server: make one with `sfu token`") from None
    raise TokenError("this token was signed with another key: make a new one with `sfu token` on the server's machine")


def _claims(fields: Mapping[str, Any]) -> Claims:
    rooms, can, stamp = fields["room"], fields["can"], fields.get("stamp")
    try:
        if not (_texts(rooms) and _texts(can) and valid_id(fields["jti"])):
            raise ValueError(fields)
        if not all(room == EVERYWHERE or valid_room(room) for room in rooms) or not valid_name(fields["sub"]):
            raise ValueError(fields)
        if stamp is not None and not isinstance(stamp, str):
            raise ValueError(fields)
        return Claims(
            sub=fields["sub"],
            room=tuple(rooms),
            can=_rights(can),
            until=_time(fields["exp"]),
            jti=fields["jti"],
            use=Use(fields.get("use", Use.ACCESS)),
            since=_time(fields.get("iat", 0)),
            stamp=stamp,
        )
    except (ValueError, TypeError, OverflowError):
        raise TokenError("this token's claims are not those that this server makes") from None


def _rights(can: list[str]) -> frozenset[Right]:
    """Returns the rights; `admin` brings all others with it."""
    rights = frozenset(Right(text) for text in can)
    return frozenset(Right) if Right.ADMIN in rights else rights


def _time(value: object) -> float:
    """Reads seconds since 1970. Raises ValueError for what JSON has besides, and for times that never come."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.fabs(value) <= _LATEST_S:
        raise ValueError("no time")
    return float(value)


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MAX_NAMES and all(isinstance(text, str) for text in value)
