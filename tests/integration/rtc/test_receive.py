"""Batched reading: datagrams are handed over whole, in order and with their sender, joined by the kernel or not."""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from sfu.rtc.net import receive
from sfu.rtc.net.receive import BATCH_MESSAGES, Datagrams, Ingress
from sfu.rtc.net.srtp import PROFILES, SrtpContext
from tests.helpers.waiting import PATIENCE_S

SOL_UDP, UDP_SEGMENT = 17, 103
linux = pytest.mark.skipif(sys.platform != "linux", reason="segments are Linux's")
WAYS = pytest.mark.parametrize("batched", [pytest.param(True, marks=linux), False], ids=["recvmmsg", "one by one"])


@pytest.fixture(params=["127.0.0.1", "::1"])
def sockets(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """(sender, receiver), the sender connected to it."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as out, socket.socket(family, socket.SOCK_DGRAM) as into:
        into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        into.setblocking(False)
        into.bind((request.param, 0))
        out.bind((request.param, 0))
        out.connect(into.getsockname())
        yield out, into


def everything(way_in: Ingress) -> list[tuple[bytes, tuple[str, int]]]:
    got = taken_apart(way_in.read())
    while not way_in.drained:
        got += taken_apart(way_in.read())
    return got


def taken_apart(runs: list[Datagrams]) -> list[tuple[bytes, tuple[str, int]]]:
    assert all(run.places for run in runs)
    return [(data, run.sender) for run in runs for data in run.copies()]


@WAYS
def test_datagrams_arrive_whole_and_in_order_with_their_sender(
    sockets: tuple[socket.socket, socket.socket], batched: bool
) -> None:
    out, into = sockets
    sent = [bytes([n]) * size for n, size in enumerate([0, 1, 1200, 2048, 9000, 65_000, *range(BATCH_MESSAGES * 2)])]
    for data in sent:
        out.send(data)
    assert everything(Ingress(into, batched=batched)) == [(data, out.getsockname()[:2]) for data in sent]


@linux
@WAYS
@pytest.mark.parametrize("last", [1, 700, 1216])
def test_a_burst_sent_as_segments_is_taken_apart(
    sockets: tuple[socket.socket, socket.socket], batched: bool, last: int
) -> None:
    out, into = sockets
    way_in = Ingress(into, batched=batched)
    packets = [bytes([n]) * 1216 for n in range(40)] + [b"z" * last]
    out.setsockopt(SOL_UDP, UDP_SEGMENT, 1216)
    for _ in range(3):
        out.send(b"".join(packets))
    out.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
    out.send(b"alone")
    assert [data for data, _ in everything(way_in)] == [*packets * 3, b"alone"]


@WAYS
def test_senders_are_told_apart(sockets: tuple[socket.socket, socket.socket], batched: bool) -> None:
    out, into = sockets
    way_in = Ingress(into, batched=batched)
    host = out.getsockname()[0]
    with socket.socket(out.family, socket.SOCK_DGRAM) as other:
        other.bind((host, 0))
        other.connect(into.getsockname())
        for _ in range(2):
            out.send(b"one")
            other.send(b"two")
        one, two = out.getsockname()[:2], other.getsockname()[:2]
        assert everything(way_in) == [(b"one", one), (b"two", two)] * 2


def media(packet: bytes) -> bytes:
    """An RTP header, and this behind it."""
    return b"\x80\x60" + bytes(10) + packet


STUN, RTCP, DTLS, SHORT = b"\x00\x01" + bytes(18), b"\x81\xc9" + bytes(30), b"\x16" + bytes(30), b"\x80\x60" + bytes(9)


@WAYS
@pytest.mark.parametrize("other", [STUN, RTCP, DTLS, SHORT, b""], ids=["stun", "rtcp", "dtls", "short", "empty"])
def test_a_run_is_media_if_all_of_it_looks_so(
    sockets: tuple[socket.socket, socket.socket], batched: bool, other: bytes
) -> None:
    out, into = sockets
    way_in = Ingress(into, batched=batched)
    for _ in range(3):
        out.send(media(b"picture"))
    assert [datagrams.is_media() for datagrams in way_in.read()] == [True]
    for data in (media(b"picture"), other, media(b"picture")):
        out.send(data)
    assert [datagrams.is_media() for datagrams in way_in.read()] == [False]


@linux
def test_other_packets_in_a_burst_of_segments_are_not_media(sockets: tuple[socket.socket, socket.socket]) -> None:
    out, into = sockets
    way_in = Ingress(into)
    out.setsockopt(SOL_UDP, UDP_SEGMENT, 32)
    out.send(media(bytes(20)) + RTCP + media(bytes(20)))
    assert [datagrams.is_media() for datagrams in way_in.read()] == [False]


@WAYS
def test_packets_are_decrypted_where_they_lie_and_faults_are_their_own(
    sockets: tuple[socket.socket, socket.socket], batched: bool
) -> None:
    out, into = sockets
    way_in = Ingress(into, batched=batched)
    sender, receiver = (SrtpContext(PROFILES[2], b"k" * 30, outbound=way) for way in (True, False))
    plain = [b"\x80\x60" + bytes((0, n)) + bytes(8) + bytes([n]) * (40 * n) for n in range(8)]
    sent = [sender.protect(packet) or b"" for packet in plain]
    forged = sent[3][:-1] + bytes([sent[3][-1] ^ 1])
    for data in (*sent[:3], forged, sent[2], media(bytes(3000)), *sent[3:]):
        out.send(data)
    (datagrams,) = way_in.read()
    assert datagrams.is_media()
    assert datagrams.decrypted(receiver) == plain
    out.send(sender.protect(plain[0][:3] + b"\x09" + plain[0][4:]) or b"")  # the memory is good for more
    assert [each.decrypted(receiver) for each in way_in.read()] == [[plain[0][:3] + b"\x09" + plain[0][4:]]]


@linux
def test_each_message_has_its_arrival_time_however_late_it_is_read(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    out, into = sockets
    way_in = Ingress(into)
    out.send(media(b"first"))
    assert [datagrams.arrived() for datagrams in way_in.read()] == [[]]  # nobody had asked for it
    deadline, timestamping = time.monotonic() + PATIENCE_S, False
    while not timestamping:  # Linux turns timestamps on with a delay, and gives the time of reading until then
        assert time.monotonic() < deadline
        out.send(media(b"second"))
        sent_at = time.monotonic()
        time.sleep(0.01)  # late enough to be distinguished from reading at once
        timestamping = all(moment < sent_at + 0.005 for each in way_in.read() for moment in each.arrived())
    sent = []
    for number in range(3):
        before = time.monotonic()
        out.send(media(bytes([number])))
        sent.append((before, time.monotonic()))
        time.sleep(0.02)  # what is measured is this
    out.setsockopt(SOL_UDP, UDP_SEGMENT, 100)
    sent += [(time.monotonic(), time.monotonic() + 0.01)] * 3
    out.send(bytes([129]) * 250)
    time.sleep(0.05)  # late enough to be distinguished from reading at once
    (datagrams,) = way_in.read()
    assert len(datagrams.copies()) == 6
    for moment, (before, after) in zip(datagrams.arrived(), sent, strict=True):
        assert before - 0.001 <= moment <= after + 0.001


@WAYS
def test_an_empty_and_a_closed_socket_give_no_datagrams(
    sockets: tuple[socket.socket, socket.socket], batched: bool
) -> None:
    out, into = sockets
    way_in = Ingress(into, batched=batched)
    assert (way_in.read(), way_in.drained) == ([], True)
    out.send(b"late")
    into.close()
    assert (way_in.read(), way_in.drained) == ([], True)


@linux
def test_what_was_read_outlives_the_memory_it_was_read_into(sockets: tuple[socket.socket, socket.socket]) -> None:
    out, into = sockets
    way_in = Ingress(into)
    out.send(b"a" * 1200)
    first = taken_apart(way_in.read())
    out.send(b"b" * 1200)
    second = taken_apart(way_in.read())
    del way_in
    gc.collect()
    assert [data for data, _ in first + second] == [b"a" * 1200, b"b" * 1200]


@linux
def test_no_number_of_senders_fills_memory(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, into = sockets
    monkeypatch.setattr(receive, "MAX_KNOWN_SENDERS", 4)
    way_in = Ingress(into)
    for _ in range(10):
        with socket.socket(out.family, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"hello", into.getsockname()[:2])
            assert len(way_in.read()) == 1
    assert way_in.known_senders <= 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="knows the layout of Linux's addresses")
def test_an_address_of_link_scope_keeps_its_zone() -> None:
    index = socket.if_nameindex()[0][0]
    name = socket.AF_INET6.to_bytes(2, sys.byteorder) + (5004).to_bytes(2, "big") + bytes(4)
    name += socket.inet_pton(socket.AF_INET6, "fe80::1") + index.to_bytes(4, sys.byteorder)
    assert receive.unpack_address(name, ipv6=True) == (f"fe80::1%{socket.if_indextoname(index)}", 5004)
