"""The port: one number for all families, no datagram makes it raise, its tables shrink again."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from typing import Any

import pytest

from sfu.rtc.net import port as udp
from sfu.rtc.net.port import MediaHandler, UdpPort
from sfu.rtc.net.receive import Datagrams, Ingress
from sfu.rtc.net.stun import Address
from tests.helpers.transports import stranger
from tests.helpers.waiting import until


class Ear:
    """An agent that keeps what it was given."""

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.requests: list[bytes] = []
        self.data: list[bytes] = []
        self.ticks = 0
        self.media: MediaHandler = self

    def on_request(self, data: bytes, sock: socket.socket, address: Address) -> None:
        self.requests.append(data)

    def on_data(self, data: bytes) -> None:
        self.data.append(data)

    def on_srtp(self, datagrams: Datagrams, now: float) -> None:
        assert self.heard_at == now
        self.data += datagrams.copies()

    def on_tick(self) -> None:
        self.ticks += 1


async def test_all_families_have_one_number() -> None:
    port = await UdpPort.open(bind=("127.0.0.1", "::1"))
    assert [sock.getsockname()[1] for sock in port.sockets] == [port.port] * 2
    assert port.serves("192.0.2.1")
    assert port.serves("2001:db8::1")
    port.close()
    port.close()


async def test_what_waits_for_the_end_of_a_read_has_everything_that_came_with_it() -> None:
    heard: list[int | str] = []

    class Late(Ear):
        def on_data(self, data: bytes) -> None:
            super().on_data(data)
            port.after_read(lambda: heard.append(len(self.data)))

    port, ear = await UdpPort.open(bind=("127.0.0.1",)), Late()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port.validate(peer.getsockname(), ear)
        for number in range(3):  # before the loop can look
            peer.sendto(bytes([128, number]), ("127.0.0.1", port.port))
        await until(lambda: heard)
        assert heard == [3, 3, 3]
        port.after_read(lambda: heard.append("soon"))
        assert heard == [3, 3, 3]
        await until(lambda: heard[-1] == "soon")
    port.close()


async def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    port = await UdpPort.open(bind=("127.0.0.1",))
    with pytest.raises(OSError, match="in use"):
        await UdpPort.open(bind=("::1", "127.0.0.1"), port=port.port)
    port.close()


async def test_a_number_taken_in_one_family_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[tuple[str, int]] = []

    class Socket(socket.socket):
        def bind(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            tries.append(address)
            if len(tries) == 2:
                raise OSError(errno.EADDRINUSE, "in use")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Socket)
    port = await UdpPort.open(bind=("127.0.0.1", "::1"))
    assert [host for host, _ in tries] == ["127.0.0.1", "::1"] * 2
    assert tries[1] != tries[3]
    port.close()


async def test_a_machine_without_ipv6_has_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without(family: int, *rest: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", without)
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
async def test_only_proven_addresses_are_heard(host: str, batched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not batched:  # as on systems without recvmmsg
        monkeypatch.setattr(udp, "Ingress", functools.partial(Ingress, batched=False))
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


async def test_an_address_changes_hands_once_its_owner_is_silent() -> None:
    port, first, second = await UdpPort.open(bind=("127.0.0.1",)), Ear(), Ear()
    address = ("127.0.0.1", 9)
    first.heard_at, second.heard_at = 100.0, 107.0
    assert port.validate(address, first)
    assert not port.validate(address, second)
    assert port.drops["address_taken"] == 1
    second.heard_at = 108.0
    assert port.validate(address, second)
    port.close()


async def test_a_ufrag_is_one_listeners() -> None:
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


async def test_awaited_responses_are_bounded() -> None:
    port = await UdpPort.open(bind=("127.0.0.1",))
    taken = [port.expect(number.to_bytes(12, "big"), print) for number in range(5000)]
    assert taken.count(True) == 4096
    assert port.drops["expected_full"] == 904
    port.close()


async def test_what_the_kernel_refuses_is_counted() -> None:
    port = await UdpPort.open(bind=("127.0.0.1",))
    assert not port.send(b"x" * 70_000, port.path(("127.0.0.1", 9)))
    assert port.drops["send_error"] == 1
    port.close()


async def test_a_flood_leaves_the_loop_to_others() -> None:
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
