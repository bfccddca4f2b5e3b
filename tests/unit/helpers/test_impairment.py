"""The bad network of the tests does what it says, the same each time, and adds next to nothing of its own."""

from __future__ import annotations

import itertools
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from aioice import stun

from tests.helpers.impairment.link import OVERHEAD, Bursts, Impairment, Line, Link
from tests.helpers.impairment.relay import Relay

PACKETS = 20_000
PACE_S = 0.001


def fates(link: Link, *, seed: str = "7", packets: int = PACKETS, pace: float = PACE_S) -> list[tuple[float, ...]]:
    """Delays of the copies of each packet of 1000 bytes."""
    impairment = Impairment(link, seed)
    return [tuple(at - n * pace for at in impairment.take(1000, n * pace)) for n in range(packets)]


def share_lost(link: Link) -> float:
    return sum(not fate for fate in fates(link)) / PACKETS


def test_a_clean_link_hands_on_at_once() -> None:
    assert set(fates(Link())) == {(0.0,)}


def test_the_same_seed_gives_the_same_fates() -> None:
    link = Link(loss=0.1, bursts=Bursts.of(0.1, 5), delay=0.06, jitter=0.03, reorder=0.2, duplicate=0.1, rate=5e6)
    assert fates(link) == fates(link)
    assert fates(link) != fates(link, seed="8")


def test_one_more_fault_leaves_the_others_as_they_were() -> None:
    alone, together = fates(Link(loss=0.1)), fates(Link(loss=0.1, delay=0.1, jitter=0.05, duplicate=0.5, reorder=0.5))
    assert [bool(fate) for fate in alone] == [bool(fate) for fate in together]


def test_losses_are_as_many_as_told() -> None:
    assert share_lost(Link(loss=0.02)) == pytest.approx(0.02, abs=0.004)


def test_bursts_lose_their_share_in_rows_of_their_length() -> None:
    lost = [not fate for fate in fates(Link(bursts=Bursts.of(0.1, 8)))]
    rows = [len(list(row)) for gone, row in itertools.groupby(lost) if gone]
    assert sum(lost) / PACKETS == pytest.approx(0.1, abs=0.02)
    assert statistics.mean(rows) == pytest.approx(8, abs=1)


def test_jitter_wanders_through_its_range_and_keeps_the_order() -> None:
    delays = [delay for (delay,) in fates(Link(delay=0.06, jitter=0.03))]
    assert 0.03 <= min(delays) < 0.035
    assert 0.085 < max(delays) <= 0.09
    assert all(later - earlier >= -PACE_S - 1e-9 for earlier, later in itertools.pairwise(delays))


def test_reordered_packets_overtake() -> None:
    impairment = Impairment(Link(delay=0.06, jitter=0.03, reorder=0.2), "7")
    times = [impairment.take(1000, n * PACE_S)[0] for n in range(PACKETS)]
    overtaken = sum(later < earlier for earlier, later in itertools.pairwise(times))
    assert overtaken / PACKETS > 0.1
    assert impairment.counters["overtaken"] > 0
    assert all(at - n * PACE_S >= 0.03 for n, at in enumerate(times))


def test_duplicates_come_twice() -> None:
    copies = [len(fate) for fate in fates(Link(duplicate=0.1))]
    assert set(copies) == {1, 2}
    assert statistics.mean(copies) == pytest.approx(1.1, abs=0.01)


def test_a_rate_lets_that_much_through_and_its_queue_no_more_wait_than_it_holds() -> None:
    link = Link(rate=4_000_000, queue=50_000)  # offered 8 Mbit/s
    delays = [fate[0] for fate in fates(link) if fate]
    assert len(delays) / PACKETS == pytest.approx(0.5 * 1000 / (1000 + OVERHEAD), abs=0.01)
    assert max(delays) == pytest.approx(50_000 * 8 / 4e6, rel=0.1)


def test_a_queue_runs_empty_again() -> None:
    impairment = Impairment(Link(rate=1e6), "7")
    while impairment.take(1000, 0.0):
        pass
    assert impairment.take(1000, 1.0) == pytest.approx((1.0 + (1000 + OVERHEAD) * 8 / 1e6,))


def test_a_changed_link_counts_from_the_next_packet() -> None:
    impairment = Impairment(Link(loss=1.0), "7")
    assert impairment.take(1000, 0.0) == ()
    impairment.link = Link()
    assert impairment.take(1000, 0.1) == (0.1,)
    assert dict(impairment.counters) == {"in": 2, "lost": 1, "out": 1}


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with udp("127.0.0.1") as sock:
        yield sock


def udp(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(5)
    sock.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
    return sock


def relayed(server: socket.socket, *, rest: Line | None = None) -> Relay:
    return Relay(server=server.getsockname(), rest=rest)


def test_each_client_has_an_address_of_its_own_at_the_server(server: socket.socket) -> None:
    with relayed(server) as relay, udp("127.0.0.1") as one, udp("127.0.0.1") as two:
        homes = set()
        for client in (one, two, one):
            client.sendto(b"ask", (relay.host, relay.port))
            _, home = server.recvfrom(100)
            homes.add(home)
            server.sendto(b"answer", home)
            assert client.recvfrom(100) == (b"answer", (relay.host, relay.port))
        assert len(homes) == 2


def test_lines_are_named_in_order_of_appearance_and_change_while_they_run(server: socket.socket) -> None:
    with (
        relayed(server, rest=Line(up=Link(duplicate=1.0))) as relay,
        udp("127.0.0.1") as camera,
        udp("127.0.0.1") as other,
    ):
        camera.sendto(b"one", (relay.host, relay.port))
        assert [server.recv(100), server.recv(100)] == [b"one", b"one"]
        other.sendto(b"two", (relay.host, relay.port))
        assert [server.recv(100), server.recv(100)] == [b"two", b"two"]
        relay.set("client-0", Line(up=Link(loss=1.0)))
        relay.set("client-1", Line())
        camera.sendto(b"lost", (relay.host, relay.port))
        other.sendto(b"three", (relay.host, relay.port))
        assert server.recv(100) == b"three"
        assert relay.counters()["client-0"]["up"] == {"in": 2, "duplicated": 1, "out": 2, "lost": 1}
        assert relay.counters()["client-1"]["up"] == {"in": 2, "duplicated": 1, "out": 3}
        with pytest.raises(KeyError, match="nobody"):
            relay.set("nobody", Line())


def test_all_addresses_of_an_ice_agent_share_a_line(server: socket.socket) -> None:
    check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    check.attributes |= {"USERNAME": "them:us", "PRIORITY": 1, "ICE-CONTROLLING": 1}
    check.add_message_integrity(b"pwd")
    with relayed(server) as relay, udp("127.0.0.1") as wifi, udp("127.0.0.1") as lte:
        for sock in (wifi, lte):
            sock.sendto(bytes(check), (relay.host, relay.port))
            assert server.recv(1000) == bytes(check)
        assert relay.counters()["client-0"]["up"] == {"in": 2, "out": 2}
        relay.set("phone", Line(up=Link(loss=1.0)), ["us"])
        for sock in (wifi, lte):
            sock.sendto(b"media", (relay.host, relay.port))
        relay.set("phone", Line())
        wifi.sendto(b"last", (relay.host, relay.port))
        assert server.recv(1000) == b"last"
        assert relay.counters()["phone"]["up"] == {"in": 3, "lost": 2, "out": 1}


def test_a_client_that_moved_is_heard_from_elsewhere_and_deaf_at_its_old_address(server: socket.socket) -> None:
    with relayed(server) as relay, udp("127.0.0.1") as phone:
        phone.sendto(b"wifi", (relay.host, relay.port))
        _, wifi = server.recvfrom(100)
        relay.move("client-0")
        server.sendto(b"to wifi", wifi)
        phone.sendto(b"lte", (relay.host, relay.port))
        _, lte = server.recvfrom(100)
        assert wifi[0] != lte[0]
        server.sendto(b"to lte", lte)
        assert phone.recv(100) == b"to lte"
        assert relay.counters()["client-0"]["wire"] == {"to_old_address": 1, "moves": 1}


def test_a_client_that_left_its_network_is_heard_from_new_addresses_alone(server: socket.socket) -> None:
    with relayed(server) as relay, udp("127.0.0.1") as wifi, udp("127.0.0.1") as lte:
        wifi.sendto(b"wifi", (relay.host, relay.port))
        _, home = server.recvfrom(100)
        relay.leave("client-0")
        server.sendto(b"to wifi", home)
        wifi.sendto(b"wifi again", (relay.host, relay.port))
        lte.sendto(b"lte", (relay.host, relay.port))
        assert server.recv(100) == b"lte"
        assert relay.counters()["client-0"]["wire"] == {"to_old_address": 1, "from_old_address": 1, "moves": 1}


def test_it_carries_5000_packets_a_second_and_adds_next_to_nothing(
    server: socket.socket, record_property: Callable[[str, object], None]
) -> None:
    """Arrivals are the kernel's: how late this process reads is not the relay's doing."""
    packets, rate = 10_000, 5000
    server.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
    with relayed(server, rest=Line(up=Link(delay=0.02))) as relay, udp("127.0.0.1") as client:
        client.connect((relay.host, relay.port))
        with ThreadPoolExecutor(1) as reader:
            arrivals = reader.submit(lambda: [arrival(server) for _ in range(packets)])
            start = time.monotonic()
            for number in range(packets):
                time.sleep(max(0.0, start + number / rate - time.monotonic()))
                client.send(struct.pack("!Q1000x", time.time_ns()))
            late = sorted(after - 20e-3 for after in arrivals.result())
    for name, at in (("p50", 0.5), ("p99", 0.99)):
        record_property(f"relay_adds_{name}_ms", late[int(len(late) * at)] * 1e3)
    assert late[0] >= 0
    assert late[len(late) // 2] < 1e-3
    assert late[int(len(late) * 0.95)] < 5e-3


def arrival(sock: socket.socket) -> float:
    """Seconds from a datagram's sending, which it tells, to its arrival."""
    data, ancillary, *_ = sock.recvmsg(2000, 100)
    seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
    (sent_ns,) = struct.unpack_from("!Q", data)
    return float(seconds * 10**9 + nanoseconds - sent_ns) / 1e9
