"""The port: one number for all families, no datagram makes it raise, its tables shrink again."""

from __future__ import annotations

import asyncio
import functools
import socket

import pytest

from sfu.rtc.net import port as udp
from sfu.rtc.net.port import UdpPort
from tests.helpers.transports import stranger
from tests.helpers.waiting import until


class Ear:
    def __init__(self) -> None:
        self.heard_at = 0.0
        self.requests: list[bytes] = []
        self.data: list[bytes] = []
        self.ticks = 0

    def on_request(self, data, sock, address):
        self.requests.append(data)

    def on_data(self, data):
        self.data.append(data)

    @property
    def media(self):
        return self

    def on_srtp(self, datagrams, now):
        assert self.heard_at == now
        self.data += datagrams.copies()

    def on_tick(self):
        self.ticks += 1


async def test_all_families_have_one_number():
    port = await UdpPort.open(bind=("127.0.0.1", "::1"))
    assert [sock.getsockname()[1] for sock in port.sockets] == [port.port] * 2
    assert port.serves("192.0.2.1")
    assert port.serves("2001:db8::1")
    port.close()
    port.close()


async def test_what_waits_for_the_end_of_a_read_has_everything_that_came_with_it():
    port, ear, heard = await UdpPort.open(bind=("127.0.0.1",)), Ear(), []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port.validate(peer.getsockname(), ear)
        ear.on_data = lambda data: [ear.data.append(data), port.after_read(lambda: heard.append(len(ear.data)))]
        for number in range(3):  # before the loop can look
            peer.sendto(bytes([128, number]), ("127.0.0.1", port.port))
        await until(lambda: heard)
        assert heard == [3, 3, 3]
        port.after_read(lambda: heard.append("soon"))
        assert heard == [3, 3, 3]
        await until(lambda: heard[-1] == "soon")
    port.close()


async def test_a_taken_port_is_an_error_and_leaves_nothing_open():
    port = await UdpPort.open(bind=("127.0.0.1",))
    with pytest.raises(OSError, match="in use"):
        await UdpPort.open(bind=("::1", "127.0.0.1"), port=port.port)
    port.close()


async def test_a_number_taken_in_one_family_is_not_chosen():
    tries = []
    real = udp._bind

    def bind(host: str, number: int) -> list[socket.socket]:
        tries.append((host, number))
        if len(tries) == 2:
            raise OSError(98, "in use")
        return real(host, number)

    udp._bind, keep = bind, real
    try:
        port = await UdpPort.open(bind=("127.0.0.1", "::1"))
    finally:
        udp._bind = keep
    assert len(tries) == 4
    port.close()


async def test_a_machine_without_ipv6_has_ipv4(monkeypatch):
    real = socket.socket

    def without(family, *rest):
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr(udp.socket, "socket", without)
    port = await UdpPort.open(bind=("127.0.0.1", "::1"))
    assert [sock.family for sock in port.sockets] == [socket.AF_INET]
    assert not port.serves("::1")
    with pytest.raises(ValueError, match="::1"):
        port.path(("::1", 5))
    port.close()
    with pytest.raises(OSError, match="none of"):
        await UdpPort.open(bind=("::1",))


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_only_proven_addresses_are_heard(host, batched, monkeypatch):
    if not batched:  # as on systems without recvmmsg
        monkeypatch.setattr(udp, "Ingress", functools.partial(udp.Ingress, batched=False))
    port, ear = await UdpPort.open(bind=(host,)), Ear()
    with stranger(host) as sock:
        address = sock.getsockname()[:2]
        sock.sendto(b"\x80one", (host, port.port))
        await until(lambda: port.drops["unvalidated"] == 1)
        assert port.validate(address, ear)
        sock.sendto(b"\x80two", (host, port.port))
        await until(lambda: ear.data == [b"\x80two"])
        port.invalidate(address, Ear())  # not its own
        assert port.send(b"back", port.path(address))
        assert sock.recv(100) == b"back"
        port.invalidate(address, ear)
        sock.sendto(b"\x80three", (host, port.port))
        await until(lambda: port.drops["unvalidated"] == 2)
    port.close()


async def test_an_address_changes_hands_once_its_owner_is_silent():
    port, first, second = await UdpPort.open(bind=("127.0.0.1",)), Ear(), Ear()
    address = ("127.0.0.1", 9)
    first.heard_at, second.heard_at = 100.0, 107.0
    assert port.validate(address, first)
    assert not port.validate(address, second)
    assert port.drops["address_taken"] == 1
    second.heard_at = 108.0
    assert port.validate(address, second)
    port.close()


async def test_a_ufrag_is_one_listeners():
    port, ear = await UdpPort.open(bind=("127.0.0.1",), sweep_interval=0.01), Ear()
    port.register("abcd", ear)
    port.register("abcd", ear)
    with pytest.raises(ValueError, match="abcd"):
        port.register("abcd", Ear())
    await until(lambda: ear.ticks > 2)
    port.unregister("abcd")
    port.unregister("abcd")
    port.register("abcd", Ear())
    port.close()


async def test_awaited_responses_are_bounded():
    port = await UdpPort.open(bind=("127.0.0.1",))
    taken = [port.expect(number.to_bytes(12, "big"), print) for number in range(5000)]
    assert taken.count(True) == 4096
    assert port.drops["expected_full"] == 904
    port.close()


async def test_what_the_kernel_refuses_is_counted():
    port = await UdpPort.open(bind=("127.0.0.1",))
    assert not port.send(b"x" * 70_000, port.path(("127.0.0.1", 9)))
    assert port.drops["send_error"] == 1
    port.close()


async def test_a_flood_leaves_the_loop_to_others():
    port = await UdpPort.open(bind=("127.0.0.1",))
    with stranger() as sock:
        for _ in range(udp.BURST * 3):
            sock.sendto(b"\x80", ("127.0.0.1", port.port))
        await asyncio.sleep(0)
        seen = []
        while port.received < udp.BURST:
            await asyncio.sleep(0)
        seen.append(port.received)
        assert seen[0] == udp.BURST
    port.close()


def test_the_machines_addresses_end_with_loopback():
    addresses = udp.host_addresses()
    assert "127.0.0.1" in addresses
    assert not any(address.startswith("fe80") for address in addresses)
    loopback = [address in ("127.0.0.1", "::1") for address in addresses]
    assert loopback == sorted(loopback)
