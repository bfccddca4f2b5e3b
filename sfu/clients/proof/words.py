"""The words of one peer on its leaf: envelopes to bytes and back, in clear or sealed (docs/protocol.md, section 3.3).

Owns the numbers of both sides, and whom a sealed session believes: nobody but its server. Pure: the clock and nonces
come in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sfu.access.sealing import Seal, SealError, Speaker
from sfu.clients.proof.credential import Credential
from sfu.signaling import messages
from sfu.signaling.bodies import ErrorNotice, SignalError
from sfu.signaling.messages import Envelope, SealedFrame

_MAX_BOOTS: Final = 3
_MAX_HINT: Final = 300


class Words:
    """The writer and the reader of one peer's messages. With a seal, only what its server sealed is read."""

    def __init__(self, topic: str, clientid: str, *, wall_ms: Callable[[], int], nonce: Callable[[], bytes]) -> None:
        """`wall_ms`: milliseconds since 1970. `nonce`: 12 new random bytes."""
        self.credential = Credential()
        self.hint: str | None = None
        """What somebody said in clear to a peer that takes sealed words only: for people, never believed."""
        self._topic = topic
        self._clientid = clientid
        self._wall_ms, self._nonce = wall_ms, nonce
        self._number = 0
        self._session = ""
        self._boots: list[str] = []
        """Boot ids that were heard, the latest last. Anybody can write one, so each is tried until one is proven."""
        self._proven: str | None = None
        """The boot id under which the server has last answered."""
        self._answered = False
        """True if it has in this session."""
        self._before: Seal | None = None
        """The seal before the present one, until the server uses the present one."""
        self._server: dict[str, int] = {}
        """The server's highest number in this session, by seal."""

    @property
    def ready(self) -> bool:
        """Returns False while nothing can be sealed, because no boot id was heard."""
        return self.credential.seal is None or bool(self._boots)

    def take(self, credential: Credential) -> None:
        """Uses this credential from now on."""
        self._before, self.credential = self.credential.seal, credential

    def hear_boot(self, boot: str) -> None:
        """Notes a boot id of the retained `bridge/info`."""
        self._boots = [*[known for known in self._boots if known != boot][-_MAX_BOOTS:], boot]

    def begin(self, session: str) -> None:
        """Begins a session."""
        self._session, self._answered = session, False
        self._server = {}

    def write(self, envelope: Envelope) -> list[bytes]:
        """Returns the bytes to publish: of a sealed message one for each boot id that may be the server's.

        Raises SignalError `too_large` over 64 KiB.
        """
        seal = self.credential.seal
        if seal is None:
            return [messages.dump(replace(envelope, token=self.credential.token))]
        return [self._sealed(seal, envelope, boot) for boot in self._candidates()]

    def _candidates(self) -> list[str]:
        if self._answered and self._proven is not None:
            return [self._proven]
        latest = list(reversed(self._boots))
        return latest if self._proven is None or self._proven in latest else [*latest, self._proven]

    def _sealed(self, seal: Seal, envelope: Envelope, boot: str) -> bytes:
        self._number = max(self._number + 1, self._wall_ms())
        inner = messages.dump(replace(envelope, n=self._number))
        data = seal.close(inner, speaker=Speaker.PEER, topic=self._topic, boot=boot, nonce=self._nonce())
        return messages.dump_sealed(SealedFrame(self._clientid, seal.kid, data))

    def read(self, payload: bytes) -> Envelope | None:
        """Returns a message of this session from its server; None for any other, and for what cannot be read."""
        try:
            if self.credential.seal is None:
                envelope = messages.parse(payload)
                return envelope if envelope is not None and self._is_mine(envelope) else None
            frame = messages.parse_sealed(payload)
            if frame is None:
                self._note_hint(messages.parse(payload))
                return None
            return self._opened(frame) if frame.clientid != self._clientid else None
        except SignalError:
            return None

    def jump(self, last: int | None) -> bool:
        """Goes on above the number that the server has seen. Returns False if ours is above it anyway."""
        if last is None or last <= self._number:
            return False
        self._number = last
        return True

    def _opened(self, frame: SealedFrame) -> Envelope | None:
        """Returns what the server has sealed for this session, if its number is new. Raises SignalError."""
        seal = next((seal for seal in (self.credential.seal, self._before) if seal and seal.kid == frame.kid), None)
        for boot in self._candidates() if seal else ():
            try:
                inner = seal.open(frame.data, speaker=Speaker.SERVER, topic=self._topic, boot=boot)  # type: ignore[union-attr]
            except SealError:
                continue
            envelope = messages.parse(inner)
            if envelope is None or envelope.n is None or not self._is_mine(envelope):
                return None
            if envelope.n <= self._server.get(frame.kid, -1):
                return None
            self._server[frame.kid] = envelope.n
            self._prove(boot)
            if seal is self.credential.seal:
                self._before = None
            return envelope
        return None

    def _prove(self, boot: str) -> None:
        self._answered, self._proven = True, boot
        if boot in self._boots:  # what was heard before it is of an earlier start
            self._boots = self._boots[self._boots.index(boot) :]

    def _is_mine(self, envelope: Envelope) -> bool:
        """Returns True unless these are our own words, or those of another session: anybody may write on a leaf."""
        return envelope.clientid != self._clientid and envelope.session == self._session

    def _note_hint(self, envelope: Envelope | None) -> None:
        if self.hint is None and envelope is not None and isinstance(envelope.body, ErrorNotice):
            text = "".join(character if character.isprintable() else " " for character in envelope.body.message)
            self.hint = f"somebody on the broker says: {envelope.body.code}: {text[:_MAX_HINT]}"
