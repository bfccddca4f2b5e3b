"""Logins in URLs: how they are hidden in what people read, and quoted where they were typed as they are.

Pure. Never reads or writes anything.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

HIDDEN: Final = "***"
"""Stands where a password was."""
_LOGIN = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:(?P<user>[^\s:/@'\"]*):)?[^\s'\"]*@", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\s:@/?#\[\]]+)?(:\d+)?")
_AUTHORITY_END = re.compile(r"[/?#]")
_RAW_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})")


def masked(text: str) -> str:
    """Returns the text with `***` in place of each password in a URL, and of each user without a password."""
    return _LOGIN.sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    user = found["user"]
    return f"{found['scheme']}{HIDDEN if user is None else f'{user}:{HIDDEN}'}@"


def quoted(url: str) -> str:
    """Returns the URL with its user and password percent-encoded; encoded ones stay as they are.

    So a password may be typed with `@ : / ? # %` in it, unless what is before its `/`, `?` or `#` looks like a host.
    """
    parts = _split(url)
    if parts is None:
        return url
    scheme, login, rest = parts
    user, colon, password = login.partition(":")
    return f"{scheme}://{_quoted(user)}{colon}{_quoted(password)}@{rest}"


def password(url: str) -> str | None:
    """Returns the password in a URL as it is written there, rather too long than too short; None if there is none."""
    if _split(url) is None:
        return None
    login = url.partition("://")[2].rpartition("@")[0]
    return login.partition(":")[2] or None


def _quoted(text: str) -> str:
    return quote(_RAW_PERCENT.sub("%25", text), safe="%")


def _split(url: str) -> tuple[str, str, str] | None:
    """Returns scheme, login and all behind the login's `@`; None for a URL without a login."""
    scheme, separator, rest = url.partition("://")
    if not separator or "@" not in rest:
        return None
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    login, at, host = authority.rpartition("@")
    if at and _HOST.fullmatch(host):
        return scheme, login, rest[len(login) + 1 :]
    if not at and _HOST.fullmatch(authority):
        return None
    login, _, rest = rest.rpartition("@")
    return scheme, login, rest
