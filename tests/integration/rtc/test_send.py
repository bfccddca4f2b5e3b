"""Batched sending: packets arrive whole, in order and decryptable; a fault stays with its own packet."""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfu.rtc.net import send
from sfu.rtc.net.burst import Burst
from sfu.rtc.net.paths import Path, Targets
from sfu.rtc.net.send import Egress
from sfu.rtc.net.srtp import MAX_DATAGRAM_BYTES, PROFILES, Profile, SrtpContext, contexts


def keys(profile: Profile = PROFILES[0]) -> tuple[SrtpContext, SrtpContext]:
    """(sender, receiver) with the same master key."""
    material = bytes(range(100))
    return contexts(profile, material, server=True)[1], contexts(profile, material, server=False)[0]


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket(type=socket.SOCK_DGRAM) as out, socket.socket(type=socket.SOCK_DGRAM) as into:
        out.bind(("127.0.0.1", 0))
        out.setblocking(False)
        into.bind(("127.0.0.1", 0))
        into.settimeout(20)
        into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        yield out, into


@pytest.fixture(params=[0, 32], ids=["all at once", "few one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of packets up to which they are written one by one."""
    monkeypatch.setattr(send, "FEW_PACKETS", request.param)


def to(out: socket.socket, into: socket.socket, sender: SrtpContext) -> Targets:
    return Targets([(Path(out, into.getsockname()[:2]), sender)])


def burst(sizes: list[int], first: int = 0) -> list[bytes]:
    """RTP packets with bodies of these sizes, numbered from `first`."""
    header = struct.Struct(">HHII")
    return [
        header.pack(0x8060, (first + n) & 0xFFFF, n * 3000, 7) + bytes([n & 0xFF]) * size
        for n, size in enumerate(sizes)
    ]


def receive(into: socket.socket, receiver: SrtpContext, count: int) -> list[tuple[int, bytes]]:
    """(sequence, body) of each packet that arrived."""
    got = []
    for _ in range(count):
        packet = receiver.unprotect(into.recv(65536))
        assert packet is not None
        got.append((int.from_bytes(packet[2:4]), packet[12:]))
    return got


def wanted(packets: list[bytes]) -> list[tuple[int, bytes]]:
    return [(int.from_bytes(packet[2:4]), packet[12:]) for packet in packets]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("segments", [True, False], ids=["gso", "no gso"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, 100, 700, 1199, 1200, 1200, 1200]), min_size=1, max_size=80))
def test_bursts_of_any_sizes_arrive_whole_and_in_order(
    sockets: tuple[socket.socket, socket.socket], profile: Profile, segments: bool, sizes: list[int]
) -> None:
    out, into = sockets
    sender, receiver = keys(profile)
    egress = Egress(out)
    egress.segmented = egress.segmented and segments
    packets = burst(sizes)
    assert egress.write(to(out, into, sender), Burst(packets)) == {}
    egress.flush()
    assert receive(into, receiver, len(sizes)) == wanted(packets)
    assert (egress.sent, egress.refused) == (len(sizes), {})


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("segments", [True, False], ids=["gso", "no gso"])
def test_what_one_transport_refuses_the_others_get(
    sockets: tuple[socket.socket, socket.socket], segments: bool
) -> None:
    """The target in the middle is far ahead: it refuses old sequence numbers (RFC 3711 section 3.3.2)."""
    out, _ = sockets
    egress, packets = Egress(out), [*burst([1200] * 3), *burst([1200, 1200, 60], first=5000)]
    egress.segmented = egress.segmented and segments
    ends = [keys() for _ in range(3)]
    assert ends[1][0].protect(burst([1], first=4999)[0])
    with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b, sockets[1] as c:
        for into in (a, b):
            into.bind(("127.0.0.1", 0))
            into.settimeout(20)
        paths = [Path(out, into.getsockname()) for into in (a, b, c)]
        targets = Targets([(path, sender) for path, (sender, _) in zip(paths, ends, strict=True)])
        assert egress.write(targets, Burst(packets)) == {1: 3}
        after = burst([10], first=5003)  # in the same pass
        assert egress.write(targets, Burst(after)) == {}
        egress.flush()
        for into, (_, receiver), missing in zip((a, b, c), ends, (0, 3, 0), strict=True):
            assert receive(into, receiver, 7 - missing) == wanted([*packets[missing:], *after])
        assert (egress.sent, egress.refused) == (18, {})


def test_ipv6_leaves_like_ipv4() -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as out,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as into,
    ):
        out.bind(("::1", 0))
        into.bind(("::1", 0))
        into.settimeout(20)
        sender, receiver = keys()
        egress, packets = Egress(out), burst([1200] * 5)
        egress.write(to(out, into, sender), Burst(packets))
        egress.flush()
        assert receive(into, receiver, 5) == wanted(packets)


def test_a_packet_too_large_is_refused_alone(sockets: tuple[socket.socket, socket.socket]) -> None:
    out, into = sockets
    sender, receiver = keys()
    egress, packets = Egress(out), burst([500, MAX_DATAGRAM_BYTES, 500])
    offered = Burst(packets)
    assert egress.write(to(out, into, sender), offered) == {}
    assert offered.refused == 1
    egress.flush()
    assert receive(into, receiver, 2) == [wanted(packets)[0], wanted(packets)[2]]


def test_more_than_the_arena_holds_goes_out_in_parts(sockets: tuple[socket.socket, socket.socket]) -> None:
    """65,000 packets in one pass: nothing is overwritten before it is sent."""
    out, into = sockets
    sender, receiver = keys()
    egress, targets, total = Egress(out), to(out, into, sender), 0
    for first in range(0, 65_000, 100):
        assert egress.write(targets, Burst(burst([900] * 100, first))) == {}
        total += 100
    egress.flush()
    assert egress.sent + sum(egress.refused.values()) == total == 65_000
    into.setblocking(False)
    sequence, data = -1, into.recv(65536)
    while data:
        packet = receiver.unprotect(data)
        assert packet is not None
        assert packet[12:] == bytes([packet[12]]) * 900
        sequence = int.from_bytes(packet[2:4])
        try:
            data = into.recv(65536)
        except BlockingIOError:
            break
    assert sequence >= 0


def test_an_address_that_the_kernel_refuses_costs_nobody_else(sockets: tuple[socket.socket, socket.socket]) -> None:
    """Broadcast without permission fails at once and never leaves the machine: a stand-in for ENETUNREACH."""
    out, into = sockets
    (sender, receiver), (lost, _) = keys(), keys()
    egress, packets = Egress(out), burst([1200] * 3)
    nowhere = Targets([(Path(out, ("255.255.255.255", 9)), lost)])
    egress.write(nowhere, Burst(packets))
    egress.write(to(out, into, sender), Burst(packets))
    egress.write(nowhere, Burst(burst([1200] * 2, first=3)))
    egress.flush()
    assert receive(into, receiver, 3) == wanted(packets)
    assert egress.refused == {"EACCES": 5}


def test_a_burst_longer_than_an_ip_datagram_is_split(sockets: tuple[socket.socket, socket.socket]) -> None:
    """72 kB cannot be one message with segments; it becomes two."""
    out, into = sockets
    sender, receiver = keys()
    egress, packets = Egress(out), burst([1800] * 40)
    egress.write(to(out, into, sender), Burst(packets))
    egress.flush()
    assert receive(into, receiver, 40) == wanted(packets)


def test_a_closed_socket_is_counted(sockets: tuple[socket.socket, socket.socket]) -> None:
    out, into = sockets
    sender, _ = keys()
    egress = Egress(out)
    egress.write(to(out, into, sender), Burst(burst([100] * 3)))
    out.close()
    egress.flush()
    assert egress.sent == 0
    assert sum(egress.refused.values()) == 3


def test_keys_and_path_may_die_between_write_and_flush(sockets: tuple[socket.socket, socket.socket]) -> None:
    """A viewer is closed and collected in the middle of a pass: the kernel can still read its address."""
    out, into = sockets
    egress = Egress(out)
    packets = burst([300] * 4)

    def viewer() -> SrtpContext:
        sender, receiver = keys()
        egress.write(to(out, into, sender), Burst(packets))
        return receiver

    receiver = viewer()
    gc.collect()
    egress.flush()
    assert receive(into, receiver, 4) == wanted(packets)


def test_srtp_contexts_refuse_what_is_forged_or_too_long() -> None:
    sender, receiver = keys()
    packet = sender.protect(b"\x80\x60" + bytes(60))
    assert packet is not None
    assert receiver.unprotect(packet[:-1] + bytes([packet[-1] ^ 1])) is None
    assert receiver.unprotect(packet) == b"\x80\x60" + bytes(60)
    assert sender.protect(bytes(MAX_DATAGRAM_BYTES)) is None
    assert receiver.unprotect(bytes(MAX_DATAGRAM_BYTES + 1)) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    passes=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([(0,), (1, 2), (0, 1, 2), (2, 0)]), st.lists(st.sampled_from([60, 1200]), max_size=12)
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=6,
    ),
    few=st.sampled_from([0, 3, 32]),
)
def test_passes_like_and_unlike_the_one_before_reach_whom_they_should(
    sockets: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    passes: list[list[tuple[tuple[int, ...], list[int]]]],
    few: int,
) -> None:
    """The headers of the pass before are used again only where they still fit."""
    monkeypatch.setattr(send, "FEW_PACKETS", few)
    out, _ = sockets
    egress, ends, sequence = Egress(out), [keys() for _ in range(3)], 0
    with contextlib.ExitStack() as stack:
        into = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in ends]
        for each in into:
            each.bind(("127.0.0.1", 0))
            each.settimeout(20)
        pairs = [(Path(out, end.getsockname()), sender) for end, (sender, _) in zip(into, ends, strict=True)]
        audiences: dict[tuple[int, ...], Targets] = {}
        due: list[list[bytes]] = [[], [], []]
        for writes in passes:
            for audience, sizes in writes:
                targets = audiences.setdefault(audience, Targets([pairs[number] for number in audience]))
                packets = burst(sizes, sequence)
                sequence += len(sizes)
                assert egress.write(targets, Burst(packets)) == {}
                for number in audience:
                    due[number] += packets
            egress.flush()
        for number, end in enumerate(into):
            assert receive(end, ends[number][1], len(due[number])) == wanted(due[number])
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(1)
