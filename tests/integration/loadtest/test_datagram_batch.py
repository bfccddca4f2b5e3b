"""Many datagrams at a time from real sockets, in columns."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from sfu.loadtest.synthetic import datagram_batch as module
from sfu.loadtest.synthetic.datagram_batch import BATCH, STRIDE, DatagramBatch, dropped, prepare
from sfu.rtc.net.linux import LINUX_64

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A socket that sends and one that is read."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender, socket.socket(family, socket.SOCK_DGRAM) as receiver:
        for sock in (sender, receiver):
            sock.bind((request.param, 0))
            sock.setblocking(False)
        sender.connect(receiver.getsockname())
        yield sender, receiver


@pytest.fixture(params=["batched", "singly"])
def intake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DatagramBatch:
    """Also as on systems without `recvmmsg`."""
    if request.param == "singly":
        monkeypatch.setattr(module, "LINUX_64", False)
    elif not LINUX_64:
        pytest.skip("needs 64-bit Linux")
    return DatagramBatch()


def packet(sequence: int, size: int = 20) -> bytes:
    return struct.pack("!BBHII", 0x80, 96, sequence, 0, 0xCAFE) + bytes(size)


def test_a_burst_is_read_in_columns(pair: Pair, intake: DatagramBatch) -> None:
    sender, receiver = pair
    prepare(receiver, 1 << 20)
    for first in (0, 65530):
        before = time.time_ns()
        for number in range(5):
            sender.send(packet((first + number) & 0xFFFF, size=number))
        assert intake.read(receiver) == 5
        assert intake.halves(1, 5).tolist() == [first + number for number in range(5)]
        assert intake.words(2, 5) == (0xCAFE).to_bytes(4, "big") * 5
        assert intake.lengths(5) == [12, 13, 14, 15, 16]
        assert [intake.datagram(number) for number in range(5)] == [packet(first + n, size=n) for n in range(5)]
        assert intake.source(4) == sender.getsockname()[:2]
        assert before - 1_000_000 <= intake.received_at(4) <= time.time_ns()
    assert intake.read(receiver) == 0


def test_more_than_a_batch_takes_another_read_and_the_longest_is_cut(pair: Pair, intake: DatagramBatch) -> None:
    sender, receiver = pair
    prepare(receiver, 1 << 20)
    sender.send(packet(0, size=STRIDE))
    for number in range(1, BATCH + 1):
        sender.send(packet(number))
    assert intake.read(receiver) == BATCH
    assert len(intake.datagram(0)) == STRIDE
    assert intake.read(receiver) == 1
    assert intake.halves(1, 1).tolist() == [BATCH]


@pytest.mark.skipif(not LINUX_64, reason="needs 64-bit Linux")
def test_what_the_socket_had_no_room_for_is_known(pair: Pair) -> None:
    sender, receiver = pair
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for number in range(100):
        sender.send(packet(number, size=1000))
    count = DatagramBatch().read(receiver)
    assert 0 < count < 100
    assert dropped(receiver) == 100 - count
