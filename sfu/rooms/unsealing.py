"""From sealed messages to what they say and who says it, and the way back (docs/protocol.md section 3.3).

Owns the seals of tokens in use and the numbers of both sides. Never decides what a sender may do.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sfu.access.authority import Authority
from sfu.access.caller import Caller, Reply
from sfu.access.numbers import GrowingNumbers
from sfu.access.rights import Claims, Use
from sfu.access.sealing import NONCE_BYTES, Seal, SealError, Speaker, token_of_kid
from sfu.access.tokens import TokenError
from sfu.signaling import messages
from sfu.signaling.bodies import ErrorCode, ErrorNotice, SignalError
from sfu.signaling.messages import Envelope, SealedFrame

_log = logging.getLogger(__name__)

_SEALS: Final = 1024
"""Seals that are kept: making one costs more than opening a message."""

Publish = Callable[[str, bytes], None]
"""Publishes bytes on a topic of the broker."""


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """One sealed message that its token opened. `claims` None: the token holds no more, which `fault` says."""

    inner: bytes
    reply: Reply
    kid: str
    claims: Claims | None
    fault: str = ""


class Unsealing:
    """The opener of what peers seal at one server, whose boot id is `boot`."""

    def __init__(
        self, authority: Authority, clientid: str, boot: str, publish: Publish, *, counters: Counter[str]
    ) -> None:
        self._authority = authority
        self._clientid = clientid
        self._boot = boot
        self._publish = publish
        self._counters = counters
        self._seals: dict[str, tuple[Seal, str]] = {}
        """With the whole token of each."""
        self._replays = GrowingNumbers()
        self._numbers = itertools.count(1)

    def open(self, topic: str, frame: SealedFrame) -> Opened | None:
        """Returns what was sealed for this topic; None if it was sealed by no token of ours, which is counted."""
        found = self._open(topic, frame)
        if found is None:
            self._counters["bad_seal"] += 1
            return None
        seal, token, inner = found

        def reply(payload: bytes) -> None:
            self._say(topic, seal, payload)

        try:
            return Opened(inner, reply, seal.kid, self._authority.read(token, Use.SEALED))
        except TokenError as error:
            return Opened(inner, reply, seal.kid, None, str(error))

    def message(self, topic: str, frame: SealedFrame) -> tuple[Envelope, Caller] | None:
        """Returns the signalling message in a frame and its sender; None if there is none. Answers what is replayed."""
        opened = self.open(topic, frame)
        if opened is None:
            return None
        try:
            envelope = messages.parse(opened.inner)
        except SignalError as error:
            self._refuse(opened, error.session, ErrorNotice(error.code, error.message))
            return None
        if envelope is None or envelope.n is None or envelope.clientid != frame.clientid:
            self._counters["bad_seal"] += 1
            return None
        if opened.claims is None:
            self._refuse(opened, envelope.session, ErrorNotice(ErrorCode.UNAUTHORIZED, opened.fault))
            return None
        if not self.take(opened.claims, topic, envelope.n):
            last = max(self._replays.last(opened.claims.jti, topic), 0)
            text = f"the number of a sealed message must be above {last}"
            self._refuse(opened, envelope.session, ErrorNotice(ErrorCode.REPLAYED, text, last=last))
            return None
        return envelope, Caller(opened.reply, opened.claims, opened.kid)

    def take(self, claims: Claims, topic: str, number: int) -> bool:
        """Takes the number of a message. Returns False if it was said before."""
        return self._replays.take(claims.jti, topic, number)

    def _refuse(self, opened: Opened, session: str | None, notice: ErrorNotice) -> None:
        self._counters[f"refused_{notice.code}"] += 1
        opened.reply(messages.dump(Envelope(self._clientid, notice, session=session)))

    def _open(self, topic: str, frame: SealedFrame) -> tuple[Seal, str, bytes] | None:
        known = self._seals.get(frame.kid)
        for seal, token in (known,) if known else self._made(frame.kid):
            try:
                inner = seal.open(frame.data, speaker=Speaker.PEER, topic=topic, boot=self._boot)
            except SealError:
                continue
            self._seals.pop(frame.kid, None)
            self._seals[frame.kid] = seal, token
            if len(self._seals) > _SEALS:
                del self._seals[next(iter(self._seals))]
            return seal, token, inner
        return None

    def _made(self, kid: str) -> list[tuple[Seal, str]]:
        tokens = [token_of_kid(kid, key) for key in self._authority.keys.all]
        try:
            return [(Seal.of_token(token), token) for token in tokens]
        except ValueError:
            return []

    def _say(self, topic: str, seal: Seal, payload: bytes) -> None:
        inner = messages.numbered(payload, next(self._numbers))
        nonce = secrets.token_bytes(NONCE_BYTES)
        data = seal.close(inner, speaker=Speaker.SERVER, topic=topic, boot=self._boot, nonce=nonce)
        try:
            self._publish(topic, messages.dump_sealed(SealedFrame(self._clientid, seal.kid, data)))
        except SignalError as error:  # the answer to a huge offer
            _log.error("%s: %s", topic, error.message)
