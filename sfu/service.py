"""The service: every part made, started in order, supervised, and ended in order.

Start: embedded broker (if any), UDP port, rooms, broker link, recordings, HTTP. End, within 5 s: recordings finished,
peers told and transports closed, room state and `offline` published, link, HTTP, port, broker. The broker's absence
delays nothing but signalling, a missing disk nothing but recording.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

from recorder.api import RecordingsApi, SnapshotsApi
from recorder.manager import Recordings
from recorder.playback.queries import Playback
from recorder.rules import RecordingConfig
from recorder.snapshots import Snapshots
from sfu import bridge
from sfu.http.server import HttpServer, PageInfo
from sfu.media.forward.fanout import Fanout
from sfu.metrics import Metrics
from sfu.rooms import status as figures
from sfu.rooms.bitrates import RoomBitrates
from sfu.rooms.participant import RoomConfig
from sfu.rooms.room import RoomLimits, Rooms
from sfu.rooms.server import TICK, RoomServer
from sfu.rooms.status import first_camera
from sfu.rtc.ice.factory import AgentFactory, ice_credentials
from sfu.rtc.net.port import UdpPort
from sfu.rtc.transport import Certificate, Transport
from sfu.settings import EMBEDDED, Settings, SettingsError
from sfu.signaling.embedded_broker import EmbeddedBroker
from sfu.signaling.link import BrokerLink, BrokerUrl, Incoming, Tls
from sfu.signaling.topics import BridgeRequest, Leaf, RecordingSwitch, SnapshotButton, TopicError, Topics, parse_legacy
from sfu.units import ntp_time

_log = logging.getLogger(__name__)

_SWITCHES: Final = {b"ON": True, b"OFF": False}
_PRESS: Final = b"PRESS"


def _slot_ssrcs() -> Callable[[int], int]:
    """Random numbers by their index: SSRCs need to differ within one transport only (RFC 3550 section 8)."""
    drawn: list[int] = []

    def ssrc(number: int) -> int:
        while len(drawn) <= number:
            drawn.extend({secrets.randbelow(0xFFFFFFFE) + 1} - set(drawn))
        return drawn[number]

    return ssrc


def topics_of(settings: Settings) -> Topics:
    """The topic grammar that the settings ask for; SettingsError when base or legacy topics do not fit it."""
    try:
        return Topics(settings.base, parse_legacy(settings.legacy_topics))
    except TopicError as error:
        raise SettingsError(str(error)) from error


class Service:
    """One running server; `async with` starts and ends it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = topics_of(settings)
        host = "".join(c for c in platform.node() if c.isalnum() or c == "-")[:32] or "host"
        self.clientid = f"sfu-{host}-{secrets.token_hex(2)}"
        self._tls = Tls(ca=settings.tls.ca, certificate=settings.tls.certificate, key=settings.tls.key)
        self.http: HttpServer | None = None
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Service:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        settings = self.settings
        self.broker_url = await self._start_broker()
        self.port = await self._open_port()
        loop = asyncio.get_running_loop()
        self.fanout = Fanout(loop, clock=loop.time, end_of_turn=self.port.after_read)
        self.link = self._make_link()
        self.rooms = Rooms(
            RoomLimits(
                viewers_per_room=settings.limits.viewers_per_room,
                rooms=settings.limits.rooms,
                producers_per_room=settings.limits.producers_per_room,
            ),
            same_peer=settings.same_peer,
        )
        self._outbox = bridge.MqttPublisher(self.link, self.topics)
        self.server = self._make_server(loop)
        self.recordings = self._make_recordings(loop)
        self.snapshots = Snapshots(
            lambda room, peer: first_camera(self.server.participants.values(), room, peer, loop.time()), loop.time
        )
        self._stack.push_async_callback(self.snapshots.close)
        self.metrics = Metrics(self.server, self.fanout, self.port, self.link, self.recordings)
        self._stack.push_async_callback(self._end_http)  # after the farewells, which browsers hear through this door
        self._run(self.link.run(), "broker link")
        self._stack.push_async_callback(self._end_link)
        self._stack.push_async_callback(self.server.close)
        self.port.ticks.every(TICK, self.server.tick)
        self.recordings.start()
        self._stack.push_async_callback(self.recordings.close)
        self._run(self.recordings.run(), "recordings")
        await self._start_http()
        info = bridge.info(
            clientid=self.clientid,
            ice_servers=self._ice_servers(),
            limits=settings.limits.model_dump(),
            http=None if self.http is None else self.http.url,
        )
        self.link.set_state(self.topics.bridge_info, info)

    async def _open_port(self) -> UdpPort:
        media = self.settings.media
        try:
            port = await UdpPort.open(bind=media.bind, port=media.port)
        except OSError as error:
            raise OSError(f"UDP port {media.port} on {', '.join(media.bind)}: {error.strerror or error}") from error
        self._stack.callback(port.close)
        return port

    async def _start_broker(self) -> BrokerUrl:
        if self.settings.broker != EMBEDDED:
            try:
                return BrokerUrl.parse(self.settings.broker)
            except ValueError as error:
                raise SettingsError(f"broker: {error}") from error
        broker = EmbeddedBroker(port=self.settings.embedded_port)
        await broker.start()
        self._stack.push_async_callback(broker.stop)
        return broker.url

    def _make_link(self) -> BrokerLink:
        return BrokerLink(
            self.broker_url,
            client_id=self.clientid,
            subscriptions=self.topics.subscriptions(),
            watch=self.topics.states(),
            on_message=self._on_message,
            tls=self._tls,
            will=(self.topics.bridge_state, b"offline"),
            birth=(self.topics.bridge_state, b"online"),
        )

    def _make_server(self, loop: asyncio.AbstractEventLoop) -> RoomServer:
        media = self.settings.media
        try:
            bitrates = RoomBitrates(media.max_bitrate, media.room_bitrates)
        except ValueError as error:
            raise SettingsError(f"media.room_bitrates: {error}") from error
        certificate = Certificate.generate()
        agents = self._make_agents(loop)

        def new_transport(*, fresh_certificate: bool) -> Transport:
            shown = Certificate.generate() if fresh_certificate else certificate
            return Transport(agents.make(), shown, role="server")

        terms = RoomConfig(
            preference=tuple(name.lower() for name in media.codecs),
            bitrates=bitrates,
            history_bytes=int(media.history),
            session_id=lambda: secrets.randbits(62),
            ssrc=_slot_ssrcs(),
            ice_credentials=ice_credentials,
            clock=loop.time,
            ntp=lambda: ntp_time(time.time()),
        )
        return RoomServer(
            self.clientid,
            self.rooms,
            self._outbox,
            self.fanout,
            terms,
            new_transport=new_transport,
            messages_per_window=self.settings.limits.messages,
        )

    def _make_recordings(self, loop: asyncio.AbstractEventLoop) -> Recordings:
        try:
            terms = RecordingConfig.of(self.settings.recording)
        except ValueError as error:
            raise SettingsError(f"recording.rooms: {error}") from error
        recordings = Recordings(terms, bridge.Chronicle(self._outbox, self.server.note_recording), loop.time)
        self.server.on_uplink = lambda leaf, uplink: recordings.uplink(leaf.room, leaf.peer, uplink)
        return recordings

    def _make_agents(self, loop: asyncio.AbstractEventLoop) -> AgentFactory:
        media = self.settings.media
        try:
            return AgentFactory(
                self.port,
                announce=media.announce,
                stun=media.stun,
                turn=media.turn,
                turn_username=media.turn_username,
                turn_password=media.turn_password.get_secret_value(),
                allow_private=media.private_candidates,
                clock=loop.time,
            )
        except ValueError as error:
            raise SettingsError(f"media: {error}") from error

    async def _start_http(self) -> None:
        if not self.settings.http:
            return
        host, _, port = self.settings.http.rpartition(":")
        if not port.isdigit():
            raise SettingsError("http: looks like 127.0.0.1:8080")
        self.http = HttpServer(
            host=host.strip("[]"),
            port=int(port),
            page=PageInfo(
                base=self.settings.base,
                version=bridge.VERSION,
                websocket=self._websocket(),
                ice_servers=self._ice_servers(),
                recordings=True,
            ),
            connect_broker=self._connect_broker,
            ready=lambda: self.link.connected,
            metrics=self.metrics.text,
            rooms=lambda: figures.of_rooms(self.rooms, self.server.participants, asyncio.get_running_loop().time()),
            origins=self.settings.origins,
            frame_ancestors=self.settings.frame_ancestors,
            parts=[
                RecordingsApi(Playback(self.recordings.store, recording=self.recordings.recording)),
                SnapshotsApi(self.snapshots.take),
            ],
        )
        await self.http.start()

    async def _connect_broker(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A byte stream to the broker's TCP listener, for browsers' MQTT.

        Without our client certificate: a broker that knows accounts by it would take every browser for the server.
        """
        url = self.broker_url
        context = Tls(ca=self.settings.tls.ca).context() if url.tls else None
        return await asyncio.open_connection(url.host, url.port, ssl=context)

    def _on_message(self, message: Incoming) -> None:
        room = self.topics.room_of_state(message.topic)
        if room is not None:
            self._on_room_state(room, message)
        elif not message.payload or message.topic == self.topics.bridge_state:
            return  # somebody cleared what was retained; or our own word, which a filter for rooms matches too
        elif message.retained:  # an offer or a command that somebody retained would be obeyed at every start
            self.server.counters["retained"] += 1
        else:
            self._on_word(message)

    def _on_room_state(self, room: str, message: Incoming) -> None:
        """What is retained was said by this server, which says it again on each connect, or by one that was killed."""
        if message.retained and message.payload and not self.rooms.known(room):
            self.server.recall(room)

    def _on_word(self, message: Incoming) -> None:
        target = self.topics.parse(message.topic)
        if isinstance(target, Leaf):
            self.server.receive(target, message.payload)
        elif isinstance(target, BridgeRequest):
            response = bridge.refusal(target, message.payload)
            self.link.publish(self.topics.response(target.command), response)
        elif isinstance(target, RecordingSwitch) and message.payload in _SWITCHES:
            self.recordings.switch(target.room, _SWITCHES[message.payload])
        elif isinstance(target, SnapshotButton) and message.payload == _PRESS:
            self.snapshots.press(target.room, self._tell_snapshot)
        else:
            self.server.counters["outside_grammar"] += 1

    def _tell_snapshot(self, room: str, picture: bytes) -> None:
        """Its URL is another each time: what shows pictures by URL asks again when it changes."""
        path = f"api/rooms/{room}/snapshot.jpg?at={time.time_ns() // 1_000_000}"
        url = None if self.http is None else self.http.url + path
        self._outbox.snapshot(room, picture, url)

    def _websocket(self) -> str | None:
        """A broker reached over WebSockets alone has no TCP listener for our door: browsers go there themselves."""
        url = self.broker_url
        return str(replace(url, username=None, password=None)) if url.websocket else None

    def _ice_servers(self) -> list[dict[str, object]]:
        return [{"urls": [url]} for url in self.settings.media.ice_servers]

    def _run(self, work: Any, name: str) -> None:
        """One owned task, cancelled at the end; if it fails before, the service ends with its error."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.append(task)

        async def cancel() -> None:
            task.cancel()
            await asyncio.wait([task])

        self._stack.push_async_callback(cancel)

    async def _end_http(self) -> None:
        if self.http is not None:
            await self.http.stop()

    async def _end_link(self) -> None:
        await self.link.close(farewell=(self.topics.bridge_state, b"offline"))

    async def wait(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; raises what ended a part of the service before that."""
        stopped = asyncio.get_running_loop().create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([stopped, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            stopped.cancel()
