"""Who plays in tests of the whole server: cameras with numbered packets, screens that note each number, and a client
whose every message the test writes itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import secrets
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from sfu.clients.attempt import Host, PeerListener
from sfu.clients.frames import OPUS, VP8
from sfu.clients.peer import Peer, PeerError
from sfu.media.formats import rtp
from sfu.rtc.ice.full import FullAgent
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.receive import Arrived
from sfu.rtc.sdp.description import Description, Local, OfferSection
from sfu.rtc.sdp.parse import parse_description
from sfu.rtc.sdp.write import write_offer
from sfu.rtc.transport import Transport, TransportState
from sfu.signaling import messages
from sfu.signaling.bodies import Answer, Body, ErrorCode, ErrorNotice, SignalError, SlotStatus, Tracks
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.link import BrokerLink, Incoming
from sfu.signaling.topics import Leaf
from tests.helpers.waiting import PATIENCE_S, until

HOST = Host.new(announce=("127.0.0.1",))
PACE_S = 0.01
_NUMBERED = struct.Struct(">HHI")
_VP8_KEY = 0x1000  # start of partition 0 (RFC 7741 section 4.2), then a key frame's first byte
_names = itertools.count(1)


class Lens:
    """A camera's media: numbered packets of each track every 10 ms, each of them a key frame. A `PeerListener`."""

    def __init__(self, *kinds: str, burst: int = 1, size: int = 8) -> None:
        """`burst` packets at a time in each track, each with `size` bytes of payload."""
        self.name = next(_names)
        self.burst = burst
        self.size = size
        self.sent = 0
        """Numbers 0 to `sent` - 1 have left, in each track."""
        self.tracks: list[SlotStatus] = []
        self._ssrcs = {kind: secrets.randbelow(1 << 32) for kind in kinds or ("video", "audio")}
        self._payload_types: dict[str, int] = {}

    @property
    def sections(self) -> list[OfferSection]:
        """Mids are the kinds' names."""
        codecs = {"video": VP8, "audio": OPUS}
        return [
            OfferSection(kind, kind, "sendonly", (codecs[kind],), ssrc=ssrc)  # type: ignore[arg-type]
            for kind, ssrc in self._ssrcs.items()
        ]

    async def film(self, peer: Peer | Caller) -> None:
        """Sends while `peer` is up, for ever."""
        while True:
            if peer.up:
                self.shoot(peer)
            await asyncio.sleep(PACE_S)

    def shoot(self, peer: Peer | Caller) -> None:
        """Sends one burst."""
        for _ in range(self.burst):
            for mid, payload_type in self._payload_types.items():
                peer.send_rtp(self._packet(mid, payload_type))
            self.sent += 1

    def _packet(self, mid: str, payload_type: int) -> bytes:
        clock = 90_000 if mid == "video" else 48_000
        media_time = int(self.sent * PACE_S * clock) & 0xFFFFFFFF
        head = struct.pack(">BBHII", 0x80, 0x80 | payload_type, self.sent & 0xFFFF, media_time, self._ssrcs[mid])
        return head + _NUMBERED.pack(_VP8_KEY, self.name, self.sent).ljust(self.size, b"\0")

    def on_answer(self, answer: Description) -> None:
        self._payload_types = {s.mid: s.codecs[0].payload_type for s in answer.sections if not s.rejected}

    def on_up(self) -> None: ...
    def on_down(self, reason: str) -> None: ...
    def on_rtp(self, data: bytes) -> None: ...
    def on_rtcp(self, data: bytes) -> None: ...
    def on_tracks(self, tracks: Tracks) -> None: ...


class Screen:
    """A viewer's windows, `v0` and `a0` the first one's slots, and all that came into them. A `PeerListener`."""

    def __init__(self, windows: int = 1) -> None:
        self.sections = [section for number in range(windows) for section in window(number)]
        self.received: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """(lens, number) of every packet, by slot."""
        self.sequences: dict[str, list[int]] = defaultdict(list)
        self.slots: dict[str, SlotStatus] = {}
        self.sessions = 0
        self.downs: list[str] = []
        self.error: PeerError | None = None
        self.answer: Description | None = None
        self._mids: dict[int, str] = {}

    def showing(self, mid: str = "v0") -> str | None:
        """Whom the server says the slot shows."""
        slot = self.slots.get(mid)
        return None if slot is None or slot.source is None else slot.source.peer

    async def told(self, peer: str | None, *mids: str) -> None:
        """Returns when the server says that the slots show `peer`, or nobody; its word may come after the picture."""
        await until(lambda: all(mid in self.slots and self.showing(mid) == peer for mid in mids))

    async def sees(self, lens: Lens, mid: str = "v0", *, ahead: int = 0, timeout: float = PATIENCE_S) -> None:
        """Returns when the packet that `lens` sends next, or one that far `ahead`, has arrived in the slot."""
        now = lens.sent + ahead

        def seen() -> bool:
            return any(name == lens.name and number >= now for name, number in self.received[mid][-3:])

        await until(seen, timeout)

    async def missed_nothing(self, lens: Lens, *mids: str) -> None:
        """From the first packet of `lens` to some sent from now on, all have arrived, once, in order, numbered so."""
        mids = mids or ("v0",)
        await asyncio.gather(*[self.sees(lens, mid, ahead=20) for mid in mids])
        for mid in mids:
            numbers = [number for name, number in self.received[mid] if name == lens.name]
            assert numbers == list(range(numbers[0], numbers[-1] + 1)), (mid, numbers)
            steps = {(b - a) & 0xFFFF for a, b in itertools.pairwise(self.sequences[mid])}
            assert steps == {1}, mid

    def on_answer(self, answer: Description) -> None:
        self.answer = answer
        self._mids = {ssrc: section.mid for section in answer.sections for ssrc in section.ssrcs}

    def on_up(self) -> None:
        self.sessions += 1

    def on_down(self, reason: str) -> None:
        self.downs.append(reason)

    def on_rtp(self, data: bytes) -> None:
        packet = rtp.parse(data)
        assert packet is not None
        mid = self._mids[packet.ssrc]
        _, name, number = _NUMBERED.unpack_from(packet.payload)
        self.received[mid].append((name, number))
        self.sequences[mid].append(packet.sequence)

    def on_rtcp(self, data: bytes) -> None: ...

    def on_tracks(self, tracks: Tracks) -> None:
        self.slots = {slot.mid: slot for slot in tracks.slots}


def window(number: int) -> list[OfferSection]:
    """A window's two slots."""
    return [
        OfferSection(f"v{number}", "video", "recvonly", (VP8,)),
        OfferSection(f"a{number}", "audio", "recvonly", (OPUS,)),
    ]


@contextlib.asynccontextmanager
async def _peer(
    url: BrokerUrl, leaf: str, listener: Lens | Screen, base: str, tls: Tls | None
) -> AsyncIterator[tuple[Peer, asyncio.Task[None]]]:
    peer = Peer(
        url=url,
        base=base,
        leaf=Leaf.parse(leaf),
        host=HOST,
        sections=listener.sections,
        listener=listener,
        tls=tls,
    )
    task = asyncio.create_task(peer.run(), name=f"peer {leaf}")
    try:
        yield peer, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def filming(
    url: BrokerUrl, leaf: str, *, lens: Lens | None = None, base: str = "sfu", tls: Tls | None = None
) -> AsyncIterator[Lens]:
    """A camera as `sfu publish` is one, at once."""
    lens = lens or Lens()
    async with _peer(url, leaf, lens, base, tls) as (peer, _):
        film = asyncio.create_task(lens.film(peer), name=f"film {leaf}")
        try:
            yield lens
        finally:
            film.cancel()
            await asyncio.wait({film})


@contextlib.asynccontextmanager
async def watching(
    url: BrokerUrl, leaf: str, *, windows: int = 1, base: str = "sfu", tls: Tls | None = None
) -> AsyncIterator[tuple[Screen, Peer]]:
    """A viewer as `sfu view` is one; yields once it is connected, or refused for good (`screen.error`)."""
    screen = Screen(windows)
    async with _peer(url, leaf, screen, base, tls) as (peer, task):

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and isinstance(error := task.exception(), PeerError):
                screen.error = error

        task.add_done_callback(ended)
        await until(lambda: peer.up or screen.error)
        yield screen, peer


class Wire:
    """One MQTT client that hears everything and says anything anywhere."""

    link: BrokerLink

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        """What the broker had kept when we came."""
        self.latest: dict[str, bytes] = {}
        self.heard: list[Incoming] | None = []
        """All of it in order; None to keep nothing."""
        self.listeners: dict[str, Callable[[bytes], None]] = {}

    def take(self, incoming: Incoming) -> None:
        if incoming.retained:
            self.retained[incoming.topic] = incoming.payload
        self.latest[incoming.topic] = incoming.payload
        if self.heard is not None:
            self.heard.append(incoming)
        if listener := self.listeners.get(incoming.topic):
            listener(incoming.payload)

    def publish(self, topic: str, payload: bytes | str) -> None:
        assert self.link.publish(topic, payload.encode() if isinstance(payload, str) else payload)

    def json(self, topic: str) -> Any:
        """The latest message on a topic; {} for none."""
        return json.loads(self.latest.get(topic, b"{}"))

    def events(self, room: str, base: str = "sfu") -> list[tuple[str, str]]:
        """(type, peer) of a room's events so far."""
        topic = f"{base}/{room}/event"
        events = [json.loads(message.payload) for message in self.heard or () if message.topic == topic]
        return [(event["type"], event["peer"]) for event in events]

    async def drained(self) -> None:
        """Returns when everything that the broker had for us before now has been heard."""
        topic, token = f"drain/{self.link.client_id}", secrets.token_bytes(8)
        self.publish(topic, token)
        await until(lambda: self.latest.get(topic) == token)


@contextlib.asynccontextmanager
async def wire(url: BrokerUrl, *, topics: Sequence[str] = ("sfu/#",), tls: Tls | None = None) -> AsyncIterator[Wire]:
    client_id = f"wire-{secrets.token_hex(4)}"
    made = Wire()
    made.link = link = BrokerLink(
        url,
        client_id=client_id,
        subscriptions=(),
        watch=(*topics, f"drain/{client_id}"),
        on_message=made.take,
        tls=tls,
        max_payload=1 << 20,
        backoff=(0.05, 0.2),
    )
    task = asyncio.create_task(link.run(), name=client_id)
    try:
        await link.wait_connected(PATIENCE_S)
        yield made
    finally:
        await link.close()
        await asyncio.wait({task})


async def kept(url: BrokerUrl, *, tls: Tls | None = None) -> dict[str, bytes]:
    """What the broker retains now, by topic."""
    async with wire(url, tls=tls) as observer:
        await observer.drained()
        return observer.retained


class Caller:
    """A client whose every message the test writes; media, if wanted, is a `Lens` or `Screen`."""

    def __init__(
        self,
        on: Wire,
        leaf: str,
        port: UdpPort,
        listener: PeerListener | None = None,
        *,
        sections: Sequence[OfferSection] | None = None,
        session: str | None = "",
        base: str = "sfu",
    ) -> None:
        """`session`: None for a legacy peer, "" for a fresh one."""
        self.leaf = Leaf.parse(leaf)
        self.topic = f"{base}/{leaf}"
        self.session = secrets.token_hex(8) if session == "" else session
        self.heard: list[Body] = []
        self.answers: list[str] = []
        self.version = 0
        self.offer = ""
        self._wire = on
        self._port = port
        self._listener = listener or Screen()
        self.sections = list(getattr(self._listener, "sections", ()) if sections is None else sections)
        self._fingerprint = HOST.certificate.fingerprint
        self._sdp_session = secrets.randbits(62)
        make_agent = functools.partial(
            FullAgent,
            port,
            ufrag=secrets.token_hex(4),
            pwd=secrets.token_hex(16),
            announce=HOST.announce,
            controlling=True,
            clock=asyncio.get_running_loop().time,
        )
        self.transport = Transport(make_agent, HOST.certificate, role="client", listener=self, media=self)
        self.closed: list[str] = []
        on.listeners[self.topic] = self._take

    @property
    def up(self) -> bool:
        return self.transport.state is TransportState.CONNECTED

    @property
    def errors(self) -> list[ErrorCode]:
        return [body.code for body in self.heard if isinstance(body, ErrorNotice)]

    def receive(self, packets: Sequence[bytes], now: float, arrived: Arrived) -> None:
        for packet in packets:
            self._listener.on_rtp(packet)

    def on_rtcp(self, data: bytes) -> None:
        self._listener.on_rtcp(data)

    def on_connected(self) -> None:
        """`call` waits for `up`."""

    def on_route(self) -> None:
        """Batches nothing."""

    def on_moved(self) -> None:
        """Does not mind."""

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)

    def on_bug(self) -> None:
        raise AssertionError("an exception in a fake peer's media handling")

    def send_rtp(self, packet: bytes) -> None:
        self.transport.send_rtp(packet)

    def say(self, kind: str, data: object, **fields: object) -> None:
        """One message of our session; `fields` replace or add."""
        message = {"command": "signal", "clientid": self.leaf.peer, "type": kind, "data": data}
        if self.session is not None:
            message |= {"v": 2, "session": self.session}
        self._wire.publish(self.topic, json.dumps(message | fields))

    async def make_offer(self, sections: Sequence[OfferSection] | None = None) -> str:
        """A complete offer of `sections`; again: a re-offer."""
        self.sections = list(self.sections if sections is None else sections)
        agent = self.transport.agent
        if not self.version:
            await agent.gather()
        self.version += 1
        local = Local(agent.ufrag, agent.pwd, self._fingerprint, agent.candidates(), agent.lite)
        self.offer = write_offer(self.sections, local, session_id=self._sdp_session, version=self.version)
        return self.offer

    async def call(self, sections: Sequence[OfferSection] | None = None) -> str:
        """Offers, takes the answer in, and returns it once connected."""
        answers = len(self.answers)
        self.say("offer", await self.make_offer(sections))
        await until(lambda: len(self.answers) > answers or self.errors)
        assert not self.errors, self.heard
        answer = parse_description(self.answers[-1])
        self._listener.on_answer(answer)
        self.transport.start(ufrag=answer.ufrag, pwd=answer.pwd, lite=answer.ice_lite, fingerprints=answer.fingerprints)
        for candidate in answer.candidates:
            self.transport.agent.add_candidate(candidate)
        await until(lambda: self.up)
        return self.answers[-1]

    async def close(self) -> None:
        """Leaves without a word on the broker; DTLS says close_notify if it is up."""
        self._wire.listeners.pop(self.topic, None)
        await self.transport.close()
        self._port.close()

    def _take(self, payload: bytes) -> None:
        with contextlib.suppress(SignalError):
            envelope = messages.parse(payload)
            if envelope is None or envelope.clientid == self.leaf.peer or envelope.session not in (self.session, None):
                return
            self.heard.append(envelope.body)
            if isinstance(envelope.body, Answer):
                self.answers.append(envelope.body.sdp)
            elif isinstance(envelope.body, Tracks):
                self._listener.on_tracks(envelope.body)


@contextlib.asynccontextmanager
async def calling(on: Wire, leaf: str, *args: Any, **options: Any) -> AsyncIterator[Caller]:
    """A `Caller` on a port of its own, closed at the end without a bye."""
    caller = Caller(on, leaf, await UdpPort.open(bind=HOST.announce), *args, **options)
    try:
        yield caller
    finally:
        await caller.close()
