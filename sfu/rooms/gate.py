"""The gate of the rooms: from the bytes on a leaf to a message and its sender, and whether the sender may come in.

Owns how often a refusal is answered and noted. Never knows SDP or participants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sfu.access.audit import Audit
from sfu.access.authority import Authority
from sfu.access.caller import Caller
from sfu.access.leaf_rules import LeafRules, NotAllowedError
from sfu.access.rights import Claims, Right
from sfu.media.token_bucket import TokenBucket
from sfu.rooms.unsealing import Publish, Unsealing
from sfu.signaling import messages
from sfu.signaling.bodies import ErrorCode, SignalError
from sfu.signaling.messages import SEALED, Envelope
from sfu.signaling.topics import Leaf

_ANSWERS_PER_S: Final = 20.0
"""Refusals in words: a flood needs no answers."""
_NOTES: Final = (0.2, 10.0)
"""Refusals in the audit log: (a second, at once)."""
_SEALED_WORD: Final = SEALED.encode()


@dataclass(frozen=True, slots=True)
class Heard:
    """One message with its sender, and whose session it may begin (None: that is not asked)."""

    envelope: Envelope
    caller: Caller
    claims: Claims | None = None


class Gate:
    """The gate of one server."""

    def __init__(
        self,
        rules: LeafRules,
        *,
        clientid: str,
        boot: str,
        topic_of: Callable[[Leaf], str],
        publish: Publish,
        audit: Audit,
        clock: Callable[[], float],
    ) -> None:
        """`publish` sends bytes on a topic of the broker; `boot` is that of `bridge/info`."""
        self.rules = rules
        self.counters: Counter[str] = Counter()
        self._topic_of = topic_of
        self._publish = publish
        self._audit = audit
        self._clock = clock
        self._answers = TokenBucket(_ANSWERS_PER_S, _ANSWERS_PER_S)
        self._notes = TokenBucket(*_NOTES)
        self._unsealing = _unsealing(rules.authority, clientid, boot, publish, self.counters)

    def at_broker(self, leaf: Leaf) -> Caller:
        """Returns the sender of clear words on a leaf, who may be anybody."""
        topic = self._topic_of(leaf)
        return Caller(lambda payload: self._publish(topic, payload))

    def read(self, leaf: Leaf, payload: bytes, caller: Caller | None) -> Heard | None:
        """Returns the message in these bytes; None if it is to be ignored. Raises SignalError.

        `caller`: the sender at the door; None for the broker.
        """
        if caller is None and self._unsealing is not None and _SEALED_WORD in payload:
            try:
                frame = messages.parse_sealed(payload)
            except SignalError as error:
                error.answerable = False  # in clear, anybody could say it
                raise
            if frame is not None:
                opened = self._unsealing.message(self._topic_of(leaf), frame)
                return None if opened is None else Heard(*opened)
        envelope = messages.parse(payload)
        return None if envelope is None else Heard(envelope, caller or self.at_broker(leaf))

    def judge(self, leaf: Leaf, heard: Heard) -> Heard:
        """Returns the same message with whose session it may begin. Raises SignalError `unauthorized`."""
        try:
            claims = self.rules.judge(leaf, heard.envelope.token, heard.caller.claims)
        except NotAllowedError as error:
            self._note(leaf)
            self._answers.fill(self._clock())
            answered = self._answers.tokens >= 1
            self._answers.tokens -= answered
            session = heard.envelope.session
            raise SignalError(ErrorCode.UNAUTHORIZED, str(error), session=session, answerable=answered) from error
        return Heard(heard.envelope, heard.caller, claims)

    def lets_in(self, leaf: Leaf, heard: Heard) -> bool:
        """Returns True if an offer of this sender would be allowed now."""
        try:
            self.rules.judge(leaf, heard.envelope.token, heard.caller.claims)
        except NotAllowedError:
            return False
        return True

    def command(self, topic: str, room: str, right: Right, payload: bytes) -> bytes | None:
        """Returns the word of a command that the broker brought (`ON`): plain, with a token, or sealed; else None."""
        token, word, claims = None, payload, None
        try:
            if payload[:1] == b"{":
                frame = messages.parse_sealed(payload)
                fields = messages.parse_command(payload)
                if frame is not None:
                    opened = None if self._unsealing is None else self._unsealing.open(topic, frame)
                    if opened is None or opened.claims is None:
                        return None
                    claims, fields = opened.claims, messages.parse_command(opened.inner)
                    if fields.n is None or self._unsealing is None or not self._unsealing.take(claims, topic, fields.n):
                        self.counters["bad_seal"] += 1
                        return None
                token, word = fields.token, fields.word.encode()
        except SignalError:
            self.counters["bad_command"] += 1
            return None
        if self.rules.may_command(room, right, token, claims):
            return word
        self.counters["refused_command"] += 1
        return None

    def _note(self, leaf: Leaf) -> None:
        self._notes.fill(self._clock())
        if self._notes.tokens >= 1:
            self._notes.tokens -= 1
            self._audit("refused", reason="unauthorized", leaf=str(leaf))


def _unsealing(
    authority: Authority | None, clientid: str, boot: str, publish: Publish, counters: Counter[str]
) -> Unsealing | None:
    return None if authority is None else Unsealing(authority, clientid, boot, publish, counters=counters)
