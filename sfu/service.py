"""The service: makes every part, starts the parts in order, supervises them, and ends them in order.

Start: embedded broker (if any), UDP port, rooms, broker link, recordings, HTTP. End, within 5 s: finish recordings,
send `bye` to peers and close transports, publish room states and `offline`, close link, HTTP, port, broker. Without
the broker only signalling waits; without the disk only recording does. Never decides anything about a message.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from recorder.api import RecordingsApi, SnapshotsApi
from recorder.manager import Recordings
from recorder.playback.queries import Playback
from recorder.rules import RecordingConfig
from recorder.snapshots import Snapshots
from sfu import bridge
from sfu.access.authority import Authority
from sfu.access.leaf_rules import LeafMode
from sfu.access.turn import public_servers
from sfu.http.connections import ConnectionLimits
from sfu.http.door.board import Board
from sfu.http.door.door import Door
from sfu.http.entry.entry import Entry
from sfu.http.server import HttpServer, PageInfo
from sfu.inbox import Inbox
from sfu.media.forward.fanout import Fanout
from sfu.metrics import Metrics
from sfu.rooms import status
from sfu.rooms.bitrates import RoomBitrates
from sfu.rooms.gate import Gate
from sfu.rooms.participant import RoomConfig
from sfu.rooms.publication import Publication
from sfu.rooms.room import RoomLimits, Rooms
from sfu.rooms.server import TICK_S, RoomServer
from sfu.rtc.dtls import Certificate, Certificates
from sfu.rtc.ice.factory import AgentFactory, ice_credentials
from sfu.rtc.net.addresses import OwnAddresses
from sfu.rtc.net.port import UdpPort
from sfu.rtc.transport import MediaReceiver, Transport, TransportListener
from sfu.settings import EMBEDDED, Settings, SettingsError
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.embedded_broker import EmbeddedBroker
from sfu.signaling.link import BrokerLink
from sfu.signaling.strays import Strays
from sfu.units import ntp_time
from sfu.wiring.access import follow_files, make_authority, make_leaf_rules, note_leaves, open_audit
from sfu.wiring.broker import embedded_password, renewed_url
from sfu.wiring.checked import setting_fault, topics_of
from sfu.wiring.ssrcs import slot_ssrcs
from sfu.wiring.web import make_door, make_entry, make_ice_servers

_log = logging.getLogger(__name__)


class Service:
    """A running server; `async with` starts and ends it."""

    def __init__(self, settings: Settings, reload: Callable[[], Settings] | None = None) -> None:
        """`reload` reads the settings again: the broker's login may have been renewed in its file."""
        self.settings = settings
        self._reload = reload or (lambda: settings)
        self.topics = topics_of(settings)
        host = "".join(c for c in platform.node() if c.isalnum() or c == "-")[:32] or "host"
        self.clientid = f"sfu-{host}-{secrets.token_hex(2)}"
        self._tls = Tls(ca=settings.tls.ca, certificate=settings.tls.certificate, key=settings.tls.key)
        self.addresses = OwnAddresses(settings.media.announce)
        self.audit = open_audit(settings)
        self.authority = None if settings.access.mode == "open" else make_authority(settings)
        self.entry = None if self.authority is None else self._make_entry(self.authority)
        self.leaf_rules = make_leaf_rules(settings, self.authority)
        self.boot = secrets.token_hex(8)
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
        self.broker_url = await self._start_broker()
        self.port = await self._open_port()
        if self.addresses.names:
            self._run(self.addresses.follow_names(), "announced names")
        self._make_parts(asyncio.get_running_loop())
        self._stack.push_async_callback(self.snapshots.close)
        self._stack.push_async_callback(self._end_http)  # browsers get the last messages through its door
        if self.authority is not None:
            self._run(follow_files(self.authority), "users and revoked tokens")
        self._run(self.link.run(), "broker link")
        self._stack.push_async_callback(self._end_link)
        self._stack.push_async_callback(self.server.close)
        self.port.ticks.every(TICK_S, self.server.tick)
        self.recordings.start()
        self._stack.push_async_callback(self.recordings.close)
        self._run(self.recordings.run(), "recordings")
        await self._start_http()
        note_leaves(self.settings, self.broker_url, self._page_url())
        info = bridge.info(
            clientid=self.clientid,
            boot=self.boot,
            access={"mode": self.settings.access.mode, "leaves": self.leaf_rules.mode},
            ice_servers=public_servers(self.settings.media.ice_servers),
            limits=self.settings.limits.model_dump(),
            http=None if self.leaf_rules.mode is LeafMode.SEALED else self._page_url(),
        )
        self.publisher.present(info)

    def _make_parts(self, loop: asyncio.AbstractEventLoop) -> None:
        limits = self.settings.limits
        self.fanout = Fanout(loop, clock=loop.time, end_of_turn=self.port.after_read)
        self.link = self._make_link()
        self.board = Board(self.topics.base)
        self.publisher = bridge.MqttPublisher(self.link, self.topics, self.board, self.leaf_rules.public)
        self.rooms = Rooms(
            RoomLimits(
                viewers_per_room=limits.viewers_per_room,
                rooms=limits.rooms,
                producers_per_room=limits.producers_per_room,
            ),
            same_peer=self.settings.same_peer,
        )
        self.gate = self._make_gate(loop)
        publication = Publication(self.rooms, self.publisher)
        self.recordings = self._make_recordings(publication, loop)
        self.server = self._make_server(publication, loop)
        self.snapshots = Snapshots(
            lambda room, peer: status.first_camera(self.server.participants.values(), room, peer, loop.time()),
            loop.time,
        )
        self.inbox = Inbox(
            self.topics,
            self.server,
            self.recordings,
            self.snapshots,
            self.publisher,
            commands=self.gate,
            own=bridge.OwnTopics(self.link, self.topics, self.clientid),
            strays=Strays(self.clientid),
            page_url=self._page_url,
            picture_token=self._picture_token,
            clock=loop.time,
            wall_clock=time.time,
        )
        self.metrics = Metrics(
            self.server, self.fanout, self.port, self.link, self.recordings, http=self._http_counters
        )

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
            with setting_fault("broker"):
                return BrokerUrl.parse(self.settings.broker)
        broker = EmbeddedBroker(port=self.settings.embedded_port, password=embedded_password(self.settings))
        await broker.start()
        self._stack.push_async_callback(broker.stop)
        return broker.url

    def _make_link(self) -> BrokerLink:
        return BrokerLink(
            self.broker_url,
            client_id=f"sfu-{secrets.token_hex(16)}",  # not `clientid`: whoever knows it can take our connection
            subscriptions=self.topics.subscriptions(),
            own_state=self.topics.own_state(),
            on_message=lambda message: self.inbox.receive(message),  # noqa: PLW0108  # made after the link
            on_refused=lambda message: self.inbox.refuse(message),  # noqa: PLW0108
            tls=self._tls,
            will=(self.topics.bridge_state, b"offline"),
            birth=(self.topics.bridge_state, b"online"),
            fresh=lambda: renewed_url(self.broker_url, self._reload),
        )

    def _make_server(self, publication: Publication, loop: asyncio.AbstractEventLoop) -> RoomServer:
        media = self.settings.media
        with setting_fault("media.room_bitrates"):
            bitrates = RoomBitrates(media.max_bitrate, media.room_bitrates, self.settings.limits.camera_bitrate)
        certificates = Certificates(loop.time)
        agents = self._make_agents(loop)

        def new_transport(listener: TransportListener, media: MediaReceiver, *, fresh_certificate: bool) -> Transport:
            shown = Certificate.generate() if fresh_certificate else certificates.current()
            return Transport(agents.make, shown, role="server", listener=listener, media=media)

        config = RoomConfig(
            preference=tuple(name.lower() for name in media.codecs),
            bitrates=bitrates,
            history_bytes=int(media.history),
            session_id=lambda: secrets.randbits(62),
            ssrc=slot_ssrcs(),
            ice_credentials=ice_credentials,
            clock=loop.time,
            ntp=lambda: ntp_time(time.time()),
        )
        return RoomServer(
            self.clientid,
            self.rooms,
            self.gate,
            self.fanout,
            config,
            publication=publication,
            listener=self.recordings,
            new_transport=new_transport,
            messages_per_window=self.settings.limits.messages,
        )

    def _make_gate(self, loop: asyncio.AbstractEventLoop) -> Gate:
        return Gate(
            self.leaf_rules,
            clientid=self.clientid,
            boot=self.boot,
            topic_of=self.topics.leaf,
            publish=self.publisher.signal,
            audit=self.audit,
            clock=loop.time,
        )

    def _make_recordings(self, publication: Publication, loop: asyncio.AbstractEventLoop) -> Recordings:
        with setting_fault("recording.rooms"):
            config = RecordingConfig.of(self.settings.recording)
        events = bridge.RecordingPublisher(self.publisher, publication.note_recording)
        return Recordings(config, events, loop.time)

    def _make_agents(self, loop: asyncio.AbstractEventLoop) -> AgentFactory:
        media = self.settings.media
        with setting_fault("media"):
            return AgentFactory(
                self.port,
                announce=self.addresses.current,
                stun=media.stun,
                turn=media.turn,
                turn_username=media.turn_username,
                turn_password=media.turn_password.get_secret_value(),
                allow_private=media.private_candidates,
                clock=loop.time,
            )

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
                ice_servers=make_ice_servers(self.settings.media),
                recordings=True,
            ),
            door=self._make_door(),
            ready=lambda: self.link.connected,
            metrics=self.metrics.text,
            rooms=lambda: status.of_rooms(self.rooms, self.server.participants, asyncio.get_running_loop().time()),
            hosts=self.settings.hosts,
            origins=self.settings.origins,
            frame_ancestors=self.settings.frame_ancestors,
            parts=[
                RecordingsApi(
                    Playback(self.recordings.store, recording=self.recordings.recording), clips=self.recordings.clips
                ),
                SnapshotsApi(self.snapshots.take),
            ],
            access=self.entry,
            limits=ConnectionLimits(self.settings.http_connections, self.settings.http_per_address),
        )
        await self.http.start()

    def _make_door(self) -> Door:
        return make_door(
            self.topics,
            self.board,
            said=self.inbox.receive_from,
            entry=self.entry,
            audit=self.audit,
        )

    def _make_entry(self, authority: Authority) -> Entry:
        with setting_fault("access.groups"):
            return make_entry(self.settings.access, authority, self.audit)

    def _picture_token(self, room: str) -> str | None:
        """Returns a token for the URL of a picture; None where strangers read it, or nobody asks for one."""
        public = self.leaf_rules.mode is LeafMode.SEALED
        return None if self.entry is None or public else self.entry.picture_token(room)

    def _page_url(self) -> str | None:
        return None if self.http is None else self.http.url

    def _http_counters(self) -> Counter[str]:
        return Counter() if self.http is None else self.http.counters

    def _run(self, work: Any, name: str) -> None:
        """Runs one part of the service until its end. If the part fails before that, `wait` raises its error."""
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
        self.publisher.absent()
        await self.link.close(farewell=(self.topics.bridge_state, b"offline"))

    async def wait(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set. Raises the error of a part of the service that failed before that."""
        stopped = asyncio.get_running_loop().create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([stopped, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            stopped.cancel()
