"""The token that one peer holds: read for each session, and renewed in the session before it ends.

Owns these times. Never offers: it calls the peer, which does.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Final

from sfu.access.sealing import NONCE_BYTES
from sfu.clients.proof.credential import Credential, TokenSourceError
from sfu.clients.proof.source import GivenToken, TokenSource
from sfu.clients.proof.words import Words
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.topics import Leaf

_RENEW_S: Final = 5.0
"""Longest interval at which a token that ends soon is read or made again."""


def new_words(topic: str, peer: str) -> Words:
    """Returns the words of a peer, without a token so far."""
    return Words(
        topic,
        peer,
        wall_ms=lambda: time.time_ns() // 1_000_000,
        nonce=lambda: secrets.token_bytes(NONCE_BYTES),
    )


class HeldToken:
    """The token of a peer, which its words use. `on_new`: called when another one takes its place."""

    def __init__(self, source: TokenSource | None, leaf: Leaf, words: Words, on_new: Callable[[], None]) -> None:
        self._source = source or GivenToken()
        self._leaf = leaf
        self._words = words
        self._on_new = on_new
        self._token: str | None = None

    @property
    def renewable(self) -> bool:
        """Returns True if a refused or expired token may be followed by a good one."""
        return self._source.renewable

    def refresh(self) -> bool:
        """Takes the token of now. Returns True if it is another one. Raises TokenSourceError."""
        token = self._source.current(self._leaf)
        if token == self._token:
            return False
        self._words.take(Credential.of(token))
        self._token = token
        self._on_new()
        return True

    def login(self, url: BrokerUrl) -> BrokerUrl:
        """Returns the broker's URL with the login of now: the token at the server's own door."""
        if url.websocket and url.username is None:
            with contextlib.suppress(TokenSourceError):  # the next session says it
                self.refresh()
        return self._words.credential.login(url)

    async def keep_fresh(self) -> None:
        """Takes a new token before the present one ends, until cancelled."""
        while self.renewable:
            due = self._words.credential.renewed_at
            wait_s = _RENEW_S if due is None else due - time.time()
            await asyncio.sleep(min(max(wait_s, 0.0), _RENEW_S))
            if due is None or time.time() < due:
                continue
            with contextlib.suppress(TokenSourceError):
                if self.refresh():
                    continue
            await asyncio.sleep(min(_RENEW_S, self._left() / 4))

    def _left(self) -> float:
        """Returns the seconds until the token ends, 1 at least."""
        return max((self._words.credential.until or 0.0) - time.time(), 1.0)
