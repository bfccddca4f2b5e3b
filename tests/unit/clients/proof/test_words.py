"""The words of a peer whose token seals: whom it believes, with whom it shares numbers, and which boot id it means."""

from __future__ import annotations

import itertools

import pytest

from sfu.access.rights import Claims, Right, Use
from sfu.access.sealing import Seal, SealError, Speaker
from sfu.access.tokens import mint
from sfu.clients.proof.credential import Credential
from sfu.clients.proof.words import Words
from sfu.signaling import messages
from sfu.signaling.bodies import Body, Bye, ErrorCode, ErrorNotice, Offer
from sfu.signaling.messages import Envelope, SealedFrame

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
TOPIC, SESSION = "sfu/yard/pub/cam", "session-1"
NOW_MS = 1_796_035_177_000


def token(key: bytes = KEY, use: Use = Use.SEALED, jti: str = "one") -> str:
    return mint(key, Claims("cam", ("yard",), frozenset({Right.PUBLISH}), NOW_MS / 1000 + 60, jti, use, NOW_MS / 1000))


def nonces() -> itertools.count[int]:
    return itertools.count()


class Server:
    """The other end, as docs/protocol.md describes it."""

    def __init__(self, boot: str = "boot", key: bytes = KEY, topic: str = TOPIC) -> None:
        self.boot, self.key, self.topic = boot, key, topic
        self.numbers = itertools.count(1)
        self._nonces = nonces()

    def opened(self, payload: bytes) -> Envelope | None:
        """Returns what a peer has sealed for this server; None if it is for another one."""
        frame = messages.parse_sealed(payload)
        assert frame is not None
        seal = Seal.of_kid(frame.kid, self.key)
        try:
            inner = seal.open(frame.data, speaker=Speaker.PEER, topic=self.topic, boot=self.boot)
        except SealError:
            return None
        return messages.parse(inner)

    def says(
        self, body: Body, *, shown: str | None = None, n: int | None = None, session: str = SESSION, name: str = "sfu"
    ) -> bytes:
        seal = Seal.of_token(shown or token(self.key))
        inner = messages.dump(Envelope(name, body, session=session, n=next(self.numbers) if n is None else n))
        nonce = next(self._nonces).to_bytes(12)
        data = seal.close(inner, speaker=Speaker.SERVER, topic=self.topic, boot=self.boot, nonce=nonce)
        return messages.dump_sealed(SealedFrame(name, seal.kid, data))


def words(shown: str | None = None, *boots: str) -> Words:
    made, counter = Words(TOPIC, "cam", wall_ms=lambda: NOW_MS, nonce=lambda: next(counter).to_bytes(12)), nonces()
    made.take(Credential.of(token() if shown is None else shown))
    made.begin(SESSION)
    for boot in boots or ("boot",):
        made.hear_boot(boot)
    return made


OFFER = Envelope("cam", Offer("v=0\r\n"), session=SESSION)


def test_an_offer_is_sealed_for_the_server_and_shows_nothing() -> None:
    (payload,) = words().write(OFFER)
    assert Server().opened(payload) == Envelope("cam", Offer("v=0\r\n"), session=SESSION, n=NOW_MS)
    assert b"v=0" not in payload
    assert SESSION.encode() not in payload
    assert token().rpartition(".")[2].encode() not in payload


def test_numbers_grow_though_the_clock_stands() -> None:
    peer = words()
    sent = [Server().opened(payload) for _ in range(3) for payload in peer.write(OFFER)]
    assert [envelope and envelope.n for envelope in sent] == [NOW_MS, NOW_MS + 1, NOW_MS + 2]


def test_a_number_that_the_server_has_seen_is_jumped_over() -> None:
    peer = words()
    peer.write(OFFER)
    assert not peer.jump(NOW_MS)  # a copy that the broker delivered twice
    assert peer.jump(NOW_MS + 500)
    (payload,) = peer.write(OFFER)
    assert Server().opened(payload) == Envelope("cam", Offer("v=0\r\n"), session=SESSION, n=NOW_MS + 501)


def test_what_the_server_sealed_is_read_once() -> None:
    peer, server = words(), Server()
    first, second = server.says(Bye("one")), server.says(Bye("two"))
    assert peer.read(second) == Envelope("sfu", Bye("two"), session=SESSION, n=2)
    assert peer.read(first) is None
    assert peer.read(second) is None


@pytest.mark.parametrize(
    "payload",
    [
        Server(key=OTHER_KEY).says(Bye("x")),
        Server(key=OTHER_KEY).says(Bye("x"), shown=token(OTHER_KEY)),
        Server("another boot").says(Bye("x")),
        Server(topic="sfu/yard/pub/cam-2").says(Bye("x")),
        Server().says(Bye("x"), session="session-2"),
        Server().says(Bye("x"), shown=token(jti="two")),
        Server().says(Bye("x"), name="cam"),
        messages.dump(Envelope("sfu", Bye("x"), session=SESSION)),
        messages.dump(Envelope("sfu", Bye("x"), session=SESSION, n=5)),
        messages.dump(Envelope("sfu", ErrorNotice(ErrorCode.UNAUTHORIZED, "no"), session=SESSION)),
        b"{}",
        b"\xff",
        b"[" * 60_000,
    ],
    ids=range(13),
)
def test_nobody_else_is_believed(payload: bytes) -> None:
    peer = words()
    assert peer.read(payload) is None
    assert peer.read(Server().says(Bye("mine"))) is not None


def test_our_own_words_are_no_answer() -> None:
    peer = words()
    (payload,) = peer.write(OFFER)
    assert peer.read(payload) is None


def test_each_boot_id_that_was_heard_is_tried_until_one_is_proven() -> None:
    peer = words(None, "boot", "forged-1", "forged-2")
    sent = [Server().opened(payload) for payload in peer.write(OFFER)]
    assert len(sent) == 3
    assert sum(envelope is not None for envelope in sent) == 1
    assert peer.read(Server().says(Bye("x"))) is not None
    assert len(peer.write(OFFER)) == 1


def test_a_proven_boot_id_is_tried_again_however_many_are_forged() -> None:
    peer = words()
    assert peer.read(Server().says(Bye("x"))) is not None
    for number in range(50):
        peer.hear_boot(f"forged-{number}")
    peer.begin("session-2")
    sent = peer.write(OFFER)
    assert len(sent) <= 5
    assert any(Server().opened(payload) for payload in sent)


def test_the_seal_before_is_read_until_the_server_uses_the_new_one() -> None:
    peer, server = words(), Server()
    peer.take(Credential.of(token(jti="two")))
    assert peer.read(server.says(Bye("late"))) is not None
    assert peer.read(server.says(Bye("new"), shown=token(jti="two"))) is not None
    assert peer.read(server.says(Bye("old again"))) is None


def test_a_clear_error_is_a_hint_for_people_once() -> None:
    peer = words()
    for text in ("use --token\n\x1b[2J", "and another"):
        assert peer.read(messages.dump(Envelope("x", ErrorNotice(ErrorCode.UNAUTHORIZED, text)))) is None
    assert peer.hint == "somebody on the broker says: unauthorized: use --token  [2J"


def test_nothing_is_sealed_before_a_boot_id_is_heard() -> None:
    peer = Words(TOPIC, "cam", wall_ms=lambda: NOW_MS, nonce=lambda: bytes(12))
    assert peer.ready
    peer.take(Credential.of(token()))
    assert not peer.ready
    assert peer.write(OFFER) == []
    peer.hear_boot("boot")
    assert peer.ready


def test_an_access_token_is_shown_and_answers_are_read_in_clear() -> None:
    shown = token(use=Use.ACCESS)
    peer = words(shown)
    (payload,) = peer.write(OFFER)
    assert messages.parse(payload) == Envelope("cam", Offer("v=0\r\n"), session=SESSION, token=shown)
    assert peer.read(messages.dump(Envelope("sfu", Bye("x"), session=SESSION))) is not None
    assert peer.read(messages.dump(Envelope("sfu", Bye("x")))) is None
