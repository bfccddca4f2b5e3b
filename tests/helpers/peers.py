"""Cameras and viewers that speak MQTT and WebRTC to a server: they number each packet, or note each number."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Protocol

from sfu.clients.attempt import Host
from sfu.clients.frames import OPUS, VP8
from sfu.clients.peer import Peer, PeerError
from sfu.clients.proof.source import TokenSource
from sfu.media.formats import rtp
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import Description, OfferSection
from sfu.signaling.bodies import SlotStatus, Tracks
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.topics import Leaf
from tests.helpers.waiting import PATIENCE_S, until

HOST = Host.new(announce=("127.0.0.1",))
PACE_S = 0.01
_NUMBERED = struct.Struct(">HHI")
_VP8_KEY = 0x1000  # start of partition 0 (RFC 7741 section 4.2), then a key frame's first byte
_THEORA = Codec("theora", 90_000, 1, 120)
_names = itertools.count(1)


class RtpSender(Protocol):
    """A `Peer` or a `RawPeer`."""

    @property
    def up(self) -> bool: ...
    def send_rtp(self, packet: bytes) -> object: ...


class PeerCamera:
    """A camera's media: numbered packets of each track every 10 ms, each of them a key frame. A `PeerListener`."""

    def __init__(self, *kinds: str, burst: int = 1, size: int = 8) -> None:
        """`burst` packets at a time in each track, each with `size` bytes of payload.

        `kinds`: video and audio, or `theora`: a video track in a codec that no server takes.
        """
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
        codecs = {"video": VP8, "audio": OPUS, "theora": _THEORA}
        return [
            OfferSection(kind, codecs[kind].kind, "sendonly", (codecs[kind],), ssrc=ssrc)
            for kind, ssrc in self._ssrcs.items()
        ]

    async def send_forever(self, peer: RtpSender) -> None:
        """Sends a burst every 10 ms while `peer` is up; never returns."""
        while True:
            if peer.up:
                self.send_burst(peer)
            await asyncio.sleep(PACE_S)

    def send_burst(self, peer: RtpSender) -> None:
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


class PeerViewer:
    """A viewer's windows (`v0` and `a0` are the first) and the packets that came to each slot. A `PeerListener`."""

    def __init__(self, windows: int = 1) -> None:
        self.sections = [section for number in range(windows) for section in window_sections(number)]
        self.received: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """(camera, number) of every packet, by slot."""
        self.sequences: dict[str, list[int]] = defaultdict(list)
        self.slots: dict[str, SlotStatus] = {}
        self.sessions = 0
        self.downs: list[str] = []
        self.error: PeerError | None = None
        self.answer: Description | None = None
        self._mids: dict[int, str] = {}

    def source_of(self, mid: str = "v0") -> str | None:
        """Returns the peer that the server says the slot shows."""
        slot = self.slots.get(mid)
        return None if slot is None or slot.source is None else slot.source.peer

    async def shows(self, peer: str | None, *mids: str) -> None:
        """Returns when the server says that the slots show `peer`, or nobody; this may be after the picture."""
        await until(lambda: all(mid in self.slots and self.source_of(mid) == peer for mid in mids))

    async def receives(
        self, camera: PeerCamera, mid: str = "v0", *, ahead: int = 0, timeout: float = PATIENCE_S
    ) -> None:
        """Returns when the packet that `camera` sends next, or one that far `ahead`, has arrived in the slot."""
        now = camera.sent + ahead

        def seen() -> bool:
            return any(name == camera.name and number >= now for name, number in self.received[mid][-3:])

        await until(seen, timeout)

    async def missed_nothing(self, camera: PeerCamera, *mids: str) -> None:
        """Raises AssertionError unless all packets of `camera` from the first received on come, once and in order."""
        mids = mids or ("v0",)
        await asyncio.gather(*[self.receives(camera, mid, ahead=20) for mid in mids])
        for mid in mids:
            numbers = [number for name, number in self.received[mid] if name == camera.name]
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


def window_sections(number: int) -> list[OfferSection]:
    """Returns the offer sections of a window's two slots."""
    return [
        OfferSection(f"v{number}", "video", "recvonly", (VP8,)),
        OfferSection(f"a{number}", "audio", "recvonly", (OPUS,)),
    ]


@contextlib.asynccontextmanager
async def _peer(
    url: BrokerUrl,
    leaf: str,
    listener: PeerCamera | PeerViewer,
    base: str,
    tls: Tls | None,
    token: TokenSource | None = None,
) -> AsyncIterator[tuple[Peer, asyncio.Task[None]]]:
    peer = Peer(
        url=url,
        base=base,
        leaf=Leaf.parse(leaf),
        host=HOST,
        sections=listener.sections,
        listener=listener,
        token=token,
        tls=tls,
    )
    task = asyncio.create_task(peer.run(), name=f"peer {leaf}")
    try:
        yield peer, task
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def publishing(
    url: BrokerUrl,
    leaf: str,
    *,
    camera: PeerCamera | None = None,
    base: str = "sfu",
    tls: Tls | None = None,
    token: TokenSource | None = None,
) -> AsyncIterator[PeerCamera]:
    """Runs a camera as `sfu publish` does; yields at once."""
    camera = camera or PeerCamera()
    async with _peer(url, leaf, camera, base, tls, token) as (peer, _):
        sending = asyncio.create_task(camera.send_forever(peer), name=f"send {leaf}")
        try:
            yield camera
        finally:
            sending.cancel()
            await asyncio.wait({sending})


@contextlib.asynccontextmanager
async def watching(
    url: BrokerUrl,
    leaf: str,
    *,
    windows: int = 1,
    base: str = "sfu",
    tls: Tls | None = None,
    token: TokenSource | None = None,
) -> AsyncIterator[tuple[PeerViewer, Peer]]:
    """Runs a viewer as `sfu view` does; yields once it is connected, or refused for good (`viewer.error`)."""
    viewer = PeerViewer(windows)
    async with _peer(url, leaf, viewer, base, tls, token) as (peer, task):

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and isinstance(error := task.exception(), PeerError):
                viewer.error = error

        task.add_done_callback(ended)
        await until(lambda: peer.up or viewer.error)
        yield viewer, peer
