"""`sfu publish`: an input as a camera in a room.

Owns pacing, and the sender reports that keep picture and sound in step. Never encodes or decodes: the source does.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable

from sfu.clients.attempt import Host
from sfu.clients.frames import MediaSource, SourceError
from sfu.clients.outgoing import MediaClock, OutgoingStream
from sfu.clients.peer import Peer, PeerError
from sfu.clients.proof.credential import TokenSourceError
from sfu.clients.proof.source import TokenSource, own_id
from sfu.clients.source import open_source
from sfu.credentials import masked, quoted
from sfu.media.formats import rtcp
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import ABS_SEND_TIME, MID, VIDEO_ORIENTATION, Description, OfferSection
from sfu.runner import unless_stopped, until_first
from sfu.signaling.bodies import Tracks
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.topics import Leaf, Role, TopicError

Report = Callable[[str], None]
"""Shows one line to the user."""

EXTENSIONS = {MID: 1, ABS_SEND_TIME: 2}
_REPORT_INTERVAL_S = 1.0
_ANSWER_WAIT_S = 2.0
"""Longest pause in the media of a camera that has other tracks now."""
_SHORTEST_SLEEP_S = 0.001


async def publish(
    room: str,
    source: str,
    *,
    peer_id: str | None = None,
    loop: bool = False,
    broker: BrokerUrl,
    base: str = "sfu",
    token: TokenSource | None = None,
    tls: Tls | None = None,
    stop: asyncio.Event,
    report: Report,
) -> int:
    """Publishes `source` in `room` until it ends or `stop` is set.

    Returns the exit code: 0 done, 1 failed, 2 wrong usage.
    """
    try:
        leaf = Leaf.parse(f"{room}/{Role.PUB}/{peer_id or own_id(token, Role.PUB, 'camera')}")
        opened = await unless_stopped(stop, open_source(source, loop=loop))
        if opened is None:
            return 0
        report(f"{masked(quoted(source))}: {_described(opened)}")
        camera = Camera(opened, report)
        await camera.publish(leaf, host=Host.new(), broker=broker, base=base, token=token, tls=tls, stop=stop)
    except TopicError as error:
        report(str(error))
        return 2
    except (SourceError, PeerError, TokenSourceError, OSError) as error:
        report(str(error))
        return 1
    return 0


def _described(source: MediaSource) -> str:
    return " and ".join(codec.name for codec in source.codecs)


class Camera:
    """A `PeerListener` that sends one source's frames while its peer is connected."""

    def __init__(self, source: MediaSource, report: Report = lambda _: None) -> None:
        self.source = source
        self.up = asyncio.Event()
        """Set when the peer connects for the first time."""
        self._report = report
        self._answered = asyncio.Event()
        self._clock = MediaClock(live=source.live)
        self._codecs = source.codecs
        self._streams = [_outgoing(codec, str(index)) for index, codec in enumerate(source.codecs)]
        """All that was ever offered, in the order of the sections."""
        self._by_track = list(self._streams)

    async def publish(
        self,
        leaf: Leaf,
        *,
        host: Host,
        broker: BrokerUrl,
        base: str,
        token: TokenSource | None = None,
        tls: Tls | None = None,
        stop: asyncio.Event,
    ) -> None:
        """Publishes until the source ends or `stop` is set. Raises SourceError, PeerError, TopicError."""
        try:
            peer = Peer(
                url=broker,
                base=base,
                leaf=leaf,
                host=host,
                sections=self._sections(leaf.peer),
                listener=self,
                token=token,
                tls=tls,
            )
            await until_first(
                peer.run(), self._feed(peer, leaf.peer), self._report_each_second(peer, leaf.peer), stop.wait()
            )
        finally:
            await self.source.close()

    def _sections(self, name: str) -> list[OfferSection]:
        return [_section(stream, name) for stream in self._streams]

    async def _feed(self, peer: Peer, name: str) -> None:
        """Sends frames at their time. A file waits for the first connection; from then on its clock never stops."""
        if not self.source.live:
            await self.up.wait()
        loop = asyncio.get_running_loop()
        async for frame in self.source.frames():
            wait = self._clock.due(frame.seconds, loop.time()) - loop.time()
            if wait > _SHORTEST_SLEEP_S:
                await asyncio.sleep(wait)
            if self.source.codecs is not self._codecs:
                self._take_tracks()
                await self._agree(peer, self._sections(name))
            stream = self._by_track[frame.track]
            if peer.up and stream.wanted:
                for packet in stream.packetize(frame, time.time()):
                    peer.send_rtp(packet)

    def _take_tracks(self) -> None:
        """Gives each of the source's tracks of now the stream of its kind, or a new one."""
        self._codecs = self.source.codecs
        self._report(f"the camera now has {_described(self.source)}")
        free = {stream.codec.kind: stream for stream in self._streams}
        self._by_track = []
        for codec in self._codecs:
            stream = free.pop(codec.kind, None)
            if stream is None:
                stream = _outgoing(codec, str(len(self._streams)))
                self._streams.append(stream)
            else:
                stream.offer(codec)
            self._by_track.append(stream)
        for stream in free.values():
            stream.offer(None)

    async def _agree(self, peer: Peer, sections: list[OfferSection]) -> None:
        """Offers other sections; returns once they are answered, so that all tracks begin together."""
        self._answered.clear()
        peer.offer(sections)
        if peer.up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_WAIT_S):
                    await self._answered.wait()

    async def _report_each_second(self, peer: Peer, cname: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_REPORT_INTERVAL_S)
            seconds, wall = self._clock.seconds(loop.time()), time.time()
            for stream in self._streams:
                if stream.wanted and stream.packets:
                    peer.send_rtcp(stream.report(seconds, wall, cname))

    def on_answer(self, answer: Description) -> None:
        """See `PeerListener`: takes over payload types and header extensions."""
        sections = {section.mid: section for section in answer.sections if not section.rejected and section.codecs}
        for stream in self._streams:
            section = sections.get(stream.mid)
            if not stream.active:
                continue
            if section is None:
                self._report(f"the server rejects the {stream.codec.kind} ({stream.codec.name})")
                stream.refuse()
            else:
                stream.agree(section.codecs[0].payload_type, section.extensions)
        self._answered.set()

    def on_up(self) -> None:
        """See `PeerListener`."""
        self._report("connected")
        self.up.set()
        self.source.request_key_frame()

    def on_down(self, reason: str) -> None:
        """See `PeerListener`."""
        self._report(f"not connected: {reason}")

    def on_rtp(self, data: bytes) -> None:
        """See `PeerListener`: the server sends no media to a camera."""

    def on_rtcp(self, data: bytes) -> None:
        """See `PeerListener`: key frame requests for our video."""
        for message in rtcp.parse(data):
            if isinstance(message, rtcp.KeyFrameRequest) and any(
                stream.ssrc == message.media_ssrc for stream in self._streams if stream.codec.kind == "video"
            ):
                self.source.request_key_frame()

    def on_tracks(self, tracks: Tracks) -> None:
        """See `PeerListener`: a camera has no slots."""


def _outgoing(codec: Codec, mid: str) -> OutgoingStream:
    # SSRC 0 means "none" to some receivers. Sequence numbers start in the lower half, so that they wrap later.
    ssrc = secrets.randbelow(0xFFFF_FFFE) + 1
    return OutgoingStream(codec, mid=mid, ssrc=ssrc, sequence=secrets.randbits(15), offset=secrets.randbits(32))


def _section(stream: OutgoingStream, peer: str) -> OfferSection:
    return OfferSection(
        mid=stream.mid,
        kind=stream.codec.kind,
        direction="sendonly" if stream.active else "inactive",
        codecs=(stream.codec,),
        extensions=EXTENSIONS | ({VIDEO_ORIENTATION: 3} if stream.codec.kind == "video" else {}),
        ssrc=stream.ssrc,
        stream=peer,
        track=f"{peer}-{stream.codec.kind}",
        cname=peer,
    )
