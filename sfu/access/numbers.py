"""The numbers of sealed messages: each is taken once, in growing order, for each token and topic.

Pure. Owns the bound of what is remembered: what is forgotten leaves a floor that later numbers must be above.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_TOKENS: Final = 10_000
_TOPICS: Final = 64


@dataclass(slots=True)
class _OfToken:
    floor: int
    last: dict[str, int] = field(default_factory=dict)


class GrowingNumbers:
    """The latest numbers. Topics of one token never raise the floor of another."""

    def __init__(self, *, tokens: int = _TOKENS, topics: int = _TOPICS) -> None:
        """Remembers this many tokens, and topics of each; the one that was quiet for longest is forgotten first."""
        self._most_tokens = tokens
        self._most_topics = topics
        self._floor = -1
        self._tokens: dict[str, _OfToken] = {}

    @property
    def known(self) -> int:
        """Returns the number of topics whose numbers are remembered."""
        return sum(len(token.last) for token in self._tokens.values())

    def last(self, jti: str, topic: str) -> int:
        """Returns the number that the next one must be above; -1 if any will do."""
        token = self._tokens.get(jti)
        return self._floor if token is None else token.last.get(topic, token.floor)

    def take(self, jti: str, topic: str, number: int) -> bool:
        """Takes a number. Returns False if it does not grow."""
        if number <= self.last(jti, topic):
            return False
        token = self._tokens.pop(jti, None) or _OfToken(self._floor)
        self._tokens[jti] = token
        token.last.pop(topic, None)
        token.last[topic] = number
        if len(token.last) > self._most_topics:
            token.floor = max(token.floor, token.last.pop(next(iter(token.last))))
        if len(self._tokens) > self._most_tokens:
            forgotten = self._tokens.pop(next(iter(self._tokens)))
            self._floor = max(self._floor, forgotten.floor, *forgotten.last.values())
        return True
