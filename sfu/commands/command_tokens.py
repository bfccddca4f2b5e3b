"""The token of a client command: the one that is given, or one that it makes with the key of this machine's server.

Owns where a command looks. Never shows a token.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from sfu.access import served
from sfu.access.keys import kept_key, read_key
from sfu.access.rights import Use
from sfu.clients.proof.source import MINTED_S, GivenToken, MintedToken, TokenFile, TokenSource
from sfu.settings import SettingsError, load, state_directory
from sfu.signaling.broker_url import BrokerUrl

_USES: Final = {"tokens": Use.ACCESS, "sealed": Use.SEALED}
"""The kind of token that a server's leaves ask for. Others ask for none."""
_LOAD_S: Final = 86_400.0
"""Life of the one token of a load test, whose workers do not renew it."""


def token_source(given: str | None, broker: BrokerUrl, base: str, state: Path | None = None) -> TokenSource:
    """Returns the source of the tokens of peers on this broker and base. `state`: the setting of that name."""
    return _given(given) or _own(broker, base, state_directory(state), lasts_s=MINTED_S) or GivenToken()


def load_token_source(given: str | None, broker: BrokerUrl, base: str) -> TokenSource:
    """Returns the source of the one token of a load test, with which any peer id goes."""
    return _given(given) or _own(broker, base, state_directory(), lasts_s=_LOAD_S, admin=True) or GivenToken()


def _given(text: str | None) -> TokenSource | None:
    if not text:
        return None
    return TokenFile(Path(text[1:])) if text.startswith("@") else GivenToken(text)


def _own(broker: BrokerUrl, base: str, directory: Path, *, lasts_s: float, admin: bool = False) -> TokenSource | None:
    """Returns tokens made with the key of this machine's server, if it serves this base on this broker."""
    use = _USES.get(served.asked(directory, served.place(broker.host, broker.port, base)) or "")
    key = functools.partial(_key, directory)
    if use is None or key() is None:
        return None
    return MintedToken(key, use, lasts_s=lasts_s, admin=admin)


def _key(directory: Path) -> bytes | None:
    """Returns the server's key, of the settings or of its file. None if this user cannot read it."""
    try:
        chosen = load().access.key.get_secret_value()
    except SettingsError:  # of a server, not of this command
        chosen = ""
    try:
        return read_key(chosen) if chosen else kept_key(directory)
    except ValueError:
        return None
