"""Logins with a password: limited, in two threads, and equally slow for names that there are not.

Owns the threads and the limit. Never knows cookies.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from sfu.access.authority import Authority
from sfu.access.rights import Claims, Use
from sfu.access.users import User
from sfu.http.answers import Refusal
from sfu.http.entry.attempts import Attempts
from sfu.http.entry.shown import Login

SESSION_S: Final = 24 * 3600.0
_AT_ONCE: Final = 2
"""Hashes that are computed at the same time: each takes 64 MiB."""
_KEPT: Final = 64
"""Programs that send a password with each request, whose last right one is remembered by its digest."""
_KEPT_S: Final = 300.0


class Verifier(Protocol):
    """The users, as far as a login needs them."""

    def verify(self, name: str, password: str) -> User | None:
        """Returns the user of this name and password; None if there is none."""
        ...


class Logins:
    """The logins of one server. `clock` returns seconds since 1970."""

    def __init__(self, authority: Authority, users: Verifier, clock: Callable[[], float]) -> None:
        self._authority = authority
        self._users = users
        self._clock = clock
        self._attempts = Attempts()
        self._salt = secrets.token_bytes(32)
        self._kept: OrderedDict[bytes, tuple[float, Claims]] = OrderedDict()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="login")

    async def session(self, login: Login, address: str) -> tuple[str, Claims] | None:
        """Returns the token and claims of a new session; None if the login is wrong. Raises Refusal 429."""
        wait_s = self._attempts.begin(address, self._clock())
        if wait_s is not None:
            raise Refusal(429, "busy", "too many logins: try again later", retry_after=max(1, math.ceil(wait_s)))
        verifying = asyncio.get_running_loop().run_in_executor(
            self._threads, self._users.verify, login.user, login.password
        )
        user = await verifying
        if user is None:
            return None
        self._attempts.succeeded(address)
        return self._authority.mint(
            user.name, user.rooms, user.can, lasts_s=SESSION_S, use=Use.SESSION, stamp=user.stamp
        )

    async def claims(self, login: Login, address: str) -> Claims | None:
        """Returns the claims of a login that comes with each request; None if it is wrong. Raises Refusal 429."""
        mark = hashlib.sha256(self._salt + repr((login.user, login.password)).encode()).digest()
        kept = self._kept.get(mark)
        if kept is not None and kept[0] > self._clock() and self._authority.fault(kept[1]) is None:
            return kept[1]
        made = await self.session(login, address)
        if made is None:
            return None
        self._kept[mark] = self._clock() + _KEPT_S, made[1]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return made[1]

    def close(self) -> None:
        """Starts no more work in the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
