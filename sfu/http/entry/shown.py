"""The credentials that a request shows, as text: bearer token, login, cookies, token of the query, body of a login.

Owns their syntax and bounds. Pure: never knows whether one holds.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

COOKIE: Final = "sfu"
MAX_BODY_BYTES: Final = 4096
_MAX_TEXT: Final = 1024
_MAX_HEADER_BYTES: Final = 8192
_MAX_COOKIES: Final = 4
"""Several cookies of one name come from several paths of one host; the first is the one nearest to us."""
_FORMS: Final = ({"user", "password"}, {"token"}, {"once"})


class LoginBodyError(Exception):
    """A body of a login that cannot be read; the text says what it must be."""


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A login by name and password."""

    user: str
    password: str


def bearer_of(header: str) -> str | None:
    """Returns the token of an Authorization header (RFC 6750); None if it has none."""
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and len(header) <= _MAX_HEADER_BYTES else None


def basic_of(header: str) -> Login | None:
    """Returns the login of an Authorization header (RFC 7617); None if it has none."""
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic" or len(header) > _MAX_HEADER_BYTES:
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    short = len(user) <= _MAX_TEXT and len(password) <= _MAX_TEXT
    return Login(user, password) if colon and short else None


def sessions_of(headers: Sequence[str]) -> list[str]:
    """Returns the first values of our cookie in Cookie headers."""
    pairs = [pair.partition("=") for line in headers if len(line) <= _MAX_HEADER_BYTES for pair in line.split(";")]
    return [value.strip() for name, _, value in pairs if name.strip() == COOKIE and value.strip()][:_MAX_COOKIES]


def login_of(body: bytes) -> dict[str, str]:
    """Returns the fields of a login: `user` and `password`, or `token`, or `once`. Raises LoginBodyError."""
    try:
        fields = json.loads(body) if len(body) <= MAX_BODY_BYTES else None
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict) and set(fields) in _FORMS:
        texts = {name: text for name, text in fields.items() if isinstance(text, str) and 0 < len(text) <= _MAX_TEXT}
        if len(texts) == len(fields):
            return texts
    raise LoginBodyError('send JSON: {"user","password"}, or {"token"}, or {"once"}')
