"""Trouble with packets on their way out: it stays with one viewer, is counted, and passes.

In each test a camera and a viewer of another room lose not one packet.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from pylibsrtp import _binding as srtp

from sfu.rtc.ice.agent import AgentTimeouts
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.srtp import MAX_DATAGRAM_BYTES
from sfu.service import Service
from sfu.signaling.topics import Leaf
from tests.helpers.brokers import Mosquitto
from tests.helpers.lan import Lan, lan
from tests.helpers.mqtt_client import MqttClient, mqtt_client
from tests.helpers.peers import PeerCamera, PeerViewer, publishing, watching
from tests.helpers.raw_peer import RawPeer, raw_peer
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]
IP_RECVERR = 11
LARGE = 1200
"""Bytes of payload that make a packet as large as browsers make them."""


@dataclass
class Scene:
    """A server at work; `source` films in the room where things happen, and `home` speaks to the broker."""

    service: Service
    home: MqttClient
    source: PeerCamera

    def refused(self) -> dict[str, float]:
        """Packets that the kernel did not take, by errno."""
        return {it.labels["errno"]: it.value for it in self._samples() if it.name == "sfu_rtp_refused_total"}

    def counted(self, name: str, **labels: str) -> float:
        """The value in the metrics; 0 for one that is not there."""
        return sum(it.value for it in self._samples() if (it.name, it.labels) == (name, labels))

    def _samples(self) -> list[Sample]:
        families = text_string_to_metric_families(self.service.metrics.text().decode())
        return [sample for family in families for sample in family.samples]

    @contextlib.asynccontextmanager
    async def viewer(self, name: str, port: UdpPort | None = None) -> AsyncIterator[tuple[PeerViewer, RawPeer]]:
        """Somebody in the bad room, who has seen something of it."""
        screen = PeerViewer()
        async with contextlib.AsyncExitStack() as stack:
            if port is None:
                caller = await stack.enter_async_context(raw_peer(self.home, f"bad/view/{name}", screen))
            else:
                caller = RawPeer(self.home, f"bad/view/{name}", port, screen)
                stack.push_async_callback(caller.close)
            await caller.connect()
            await screen.receives(self.source)
            yield screen, caller


@contextlib.asynccontextmanager
async def scene(
    mosquitto: StartMosquitto, source: PeerCamera, network: Lan | None = None, *, shared: bool = False
) -> AsyncIterator[Scene]:
    """`shared`: what happens may cost the good room packets too, which all the same plays on."""
    url = mosquitto().url
    address = network.server if network else "127.0.0.1"
    async with (
        serving(url, media__bind=address, media__announce=address) as service,
        mqtt_client(url) as home,
        publishing(url, "good/pub/cam") as good,
        watching(url, "good/view/anna") as (screen, _),
        publishing(url, "bad/pub/cam", camera=source),
    ):
        home.messages = None
        await screen.missed_nothing(good, "v0", "a0")
        yield Scene(service, home, source)
        if shared:
            await screen.receives(good, ahead=20)
        else:
            await screen.missed_nothing(good, "v0", "a0")
        assert (screen.sessions, screen.downs) == (1, [])
        assert service.server.counters["refused_internal"] == 0


async def test_a_viewer_whose_socket_never_drains_harms_nobody(mosquitto: StartMosquitto) -> None:
    source = PeerCamera("video", burst=10, size=LARGE)
    async with scene(mosquitto, source) as at, at.viewer("deaf") as (screen, caller), at.viewer("near") as (near, _):
        (sock,) = caller.port.sockets
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        asyncio.get_running_loop().remove_reader(sock.fileno())
        received = len(screen.received["v0"])
        await near.receives(source, ahead=500)
        assert len(screen.received["v0"]) == received
        await near.missed_nothing(source)


async def test_a_slow_line_loses_its_own_packets_alone(mosquitto: StartMosquitto) -> None:
    """The queue before it overflows."""
    source = PeerCamera("video", burst=10, size=LARGE)
    with lan() as network:
        async with (
            scene(mosquitto, source, network) as at,
            at.viewer("far", network.port()) as (far, _),
            at.viewer("near") as (near, _),
        ):
            slow(network, "100kbit")
            behind = source.sent - len(far.received["v0"])
            await until(lambda: source.sent - len(far.received["v0"]) > behind + 1000)
            await near.missed_nothing(source)
            network.fast()
            await far.receives(source, ahead=100)


async def test_a_send_buffer_that_is_full_is_counted_and_empties_again(mosquitto: StartMosquitto) -> None:
    """The one socket that all share has room for a packet or two, and a slow line keeps them: all others must go."""
    source = PeerCamera("video", burst=10, size=LARGE)
    with lan() as network:
        async with (
            scene(mosquitto, source, network, shared=True) as at,
            at.viewer("far", network.port()) as (far, _),
        ):
            (sock,) = at.service.port.sockets
            slow(network, "100kbit")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            await until(lambda: at.refused().get("EAGAIN", 0) > 100)
            network.fast()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            await far.receives(source, ahead=100)


async def test_a_queue_that_is_full_is_counted_by_who_hears_of_it(mosquitto: StartMosquitto) -> None:
    """Linux tells ENOBUFS only to those who ask for errors (IP_RECVERR): we do not, so here somebody does for us."""
    source = PeerCamera("video", burst=10, size=LARGE)
    with lan() as network:
        async with (
            scene(mosquitto, source, network) as at,
            at.viewer("far", network.port()) as (far, _),
            at.viewer("near") as (near, _),
        ):
            (sock,) = at.service.port.sockets
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            slow(network, "100kbit")
            await until(lambda: at.refused().get("ENOBUFS", 0) > 100)
            await near.missed_nothing(source)
            network.fast()
            await far.receives(source, ahead=100)


async def test_packets_larger_than_the_path_takes_arrive_in_fragments(mosquitto: StartMosquitto) -> None:
    source = PeerCamera("video", burst=10, size=LARGE)
    with lan(mtu=600) as network:
        async with (
            scene(mosquitto, source, network) as at,
            at.viewer("far", network.port()) as (far, _),
            at.viewer("near") as (near, _),
        ):
            await far.receives(source, ahead=200)
            await far.missed_nothing(source)
            await near.missed_nothing(source)
            assert at.refused() == {}


async def test_an_interface_that_goes_away_is_counted_and_may_come_back(mosquitto: StartMosquitto) -> None:
    source = PeerCamera("video", burst=10, size=LARGE)
    with lan() as network:
        async with (
            scene(mosquitto, source, network) as at,
            at.viewer("far", network.port()) as (far, _),
            at.viewer("near") as (near, _),
        ):
            network.down()
            await until(lambda: sum(at.refused().values()) > 100)
            assert at.refused().keys() <= {"ENETUNREACH", "EHOSTUNREACH", "ENETDOWN"}
            await near.missed_nothing(source)
            network.up()
            await far.receives(source)
            await near.missed_nothing(source)


def encrypted(caller: RawPeer, packet: bytes) -> bytes:
    assert caller.transport.sender is not None
    buffer, length = srtp.ffi.new("unsigned char[]", packet.ljust(4096)), srtp.ffi.new("int *", len(packet))
    assert srtp.lib.srtp_protect(caller.transport.sender.handle, buffer, length) == 0
    return bytes(srtp.ffi.buffer(buffer, length[0]))


class Vast:
    """A camera that sends larger packets than our own clients do."""

    def __init__(self, caller: RawPeer) -> None:
        self._caller = caller

    def send_rtp(self, packet: bytes) -> None:
        self._caller.transport.agent.send(encrypted(self._caller, packet))


class Hoard:
    """A camera that keeps its packets to itself, for now."""

    def __init__(self, caller: RawPeer) -> None:
        self.packets: list[bytes] = []
        self._caller = caller

    def send_rtp(self, packet: bytes) -> None:
        self.packets.append(encrypted(self._caller, packet))


async def test_packets_too_large_to_send_are_counted_and_the_others_arrive(mosquitto: StartMosquitto) -> None:
    """Packets of 2,000 bytes come in but have no room on the way out; larger ones than a read takes do not come in."""
    source = PeerCamera("video", burst=10)
    async with (
        scene(mosquitto, PeerCamera("video")) as at,
        watching(at.service.broker_url, "vast/view/bert") as (bert, _),
        raw_peer(at.home, "vast/pub/cam", source) as caller,
    ):
        await caller.connect()
        camera: Any = Vast(caller)
        await warmed_up(source, camera, bert)
        for size, reason in ((2000 - 12, "refused"), (MAX_DATAGRAM_BYTES, "srtp")):
            source.size = size
            source.send_burst(camera)
            await until(lambda reason=reason: at.counted("sfu_rtp_dropped_total", reason=reason) == 10)
            source.size = 8
            source.send_burst(camera)
            await bert.receives(source, ahead=-1)


async def warmed_up(source: PeerCamera, camera: Any, screen: PeerViewer) -> None:
    """Returns when what the camera sends reaches the screen."""
    while not screen.received["v0"]:
        source.send_burst(camera)
        await asyncio.sleep(0.01)
    await screen.receives(source, ahead=-1)


async def test_65_000_packets_at_once_are_all_forwarded(mosquitto: StartMosquitto) -> None:
    """As fast as this process makes them, for the server's turn comes after every 250."""
    source = PeerCamera("video", size=20)
    async with (
        scene(mosquitto, PeerCamera("video")) as at,
        watching(at.service.broker_url, "flood/view/bert") as (bert, _),
        raw_peer(at.home, "flood/pub/cam", source) as camera,
    ):
        await camera.connect()
        await warmed_up(source, camera, bert)
        source.burst = 250
        for _ in range(65_000 // source.burst):
            source.send_burst(camera)
            await bert.receives(source, ahead=-1)
        numbers = [number for _, number in bert.received["v0"]]
        assert numbers == list(range(numbers[0], source.sent))


async def test_65_000_packets_that_wait_for_nobody_cost_their_own_picture_alone(mosquitto: StartMosquitto) -> None:
    """From a thread of their own, faster than they can be read: the kernel throws away what does not fit its buffer."""
    source = PeerCamera("video", size=20)
    async with (
        scene(mosquitto, PeerCamera("video"), shared=True) as at,
        watching(at.service.broker_url, "flood/view/bert") as (bert, _),
        raw_peer(at.home, "flood/pub/cam", source) as camera,
    ):
        await camera.connect()
        await warmed_up(source, camera, bert)
        hoard: Any = Hoard(camera)
        source.burst = 65_000
        source.send_burst(hoard)
        source.burst = 1
        (sock,), server = camera.port.sockets, ("127.0.0.1", at.service.port.port)
        read = at.service.port.received
        await asyncio.to_thread(lambda: [sock.sendto(packet, server) for packet in hoard.packets])
        while bert.received["v0"][-1][1] < source.sent - 50:
            source.send_burst(camera)
            await asyncio.sleep(0.01)
        assert at.service.port.received - read > 1000
        numbers = [number for _, number in bert.received["v0"]]
        assert len(set(numbers)) == len(numbers)
        assert len(set(bert.sequences["v0"][-30_000:])) == min(len(numbers), 30_000)
        (producer,) = at.service.server.participants[camera.leaf].uplink.producers
        assert producer.history.bytes <= at.service.settings.media.history
        assert len(producer.gaps.missing) <= 512
        assert (bert.sessions, bert.downs) == (1, [])


async def test_viewers_who_leave_in_the_middle_of_a_burst_take_nobody_along(mosquitto: StartMosquitto) -> None:
    """Their transports end between the packets' arrival and their departure, some at their own word, some at ours."""
    source = PeerCamera("video", burst=5, size=LARGE)
    async with scene(mosquitto, source) as at, at.viewer("near") as (near, _):
        for visit in range(3):
            async with contextlib.AsyncExitStack() as stack:
                names = [f"{visit}-{number}" for number in range(8)]
                guests = [(await stack.enter_async_context(at.viewer(name)))[1] for name in names]
                participants = [at.service.server.participants[Leaf.parse(f"bad/view/{name}")] for name in names]
                sent = source.sent
                await until(lambda sent=sent: source.sent > sent)  # a burst is on its way to the server
                ends = [it.transport.close() for it in participants[::2]] + [it.close() for it in guests[1::2]]
                await asyncio.gather(*ends)
                gc.collect()
                await near.receives(source)
        await near.missed_nothing(source)


async def test_half_of_40_viewers_are_killed_and_the_others_do_not_notice(mosquitto: StartMosquitto) -> None:
    source = PeerCamera("video", burst=2, size=LARGE)
    async with scene(mosquitto, source) as at, contextlib.AsyncExitStack() as stack:
        url = at.service.broker_url
        crowd = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.helpers.crowd", str(url), "bad", "20", stdout=asyncio.subprocess.PIPE
        )
        try:
            staying = [
                (await stack.enter_async_context(watching(url, f"bad/view/{number}")))[0] for number in range(20)
            ]
            assert crowd.stdout is not None
            async with asyncio.timeout(60):
                assert await crowd.stdout.readline() == b"up\n"
        finally:
            crowd.send_signal(signal.SIGKILL)
            await crowd.wait()
        for leaf, participant in at.service.server.participants.items():
            if leaf.peer.startswith("crowd-"):
                participant.transport.agent.limits = AgentTimeouts(silence=3.0)  # of which 14 s would prove no more
        for screen in staying:
            await screen.missed_nothing(source)
        await until(lambda: at.counted("sfu_participants", role="view") == 21, 60)
        for screen in staying:
            await screen.missed_nothing(source)
            assert screen.downs == []


def slow(network: Lan, rate: str) -> None:
    """A slow line, or the test's end for want of one."""
    try:
        network.slow(rate)
    except OSError as error:
        pytest.skip(f"needs a queue that throttles: {error}")
