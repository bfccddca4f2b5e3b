"""The machine's own addresses, as they are now, and names that are announced."""

from __future__ import annotations

import asyncio

import pytest

from sfu.rtc.net import addresses as net_addresses
from sfu.rtc.net.addresses import READ_INTERVAL_S, OwnAddresses, host_addresses
from tests.helpers.waiting import until


def test_the_machines_addresses_end_with_loopback() -> None:
    addresses = host_addresses()
    assert "127.0.0.1" in addresses
    assert not any(address.startswith("fe80") for address in addresses)
    loopback = [address in ("127.0.0.1", "::1") for address in addresses]
    assert loopback == sorted(loopback)


def test_addresses_that_change_are_announced_within_a_second() -> None:
    now = 0.0
    machine: tuple[str, ...] = ("127.0.0.1",)
    own = OwnAddresses(clock=lambda: now, read=lambda: machine)
    assert own.current() == ("127.0.0.1",)
    machine = ("10.77.0.1", "127.0.0.1")
    assert own.current() == ("127.0.0.1",)
    now = READ_INTERVAL_S
    assert own.current() == ("10.77.0.1", "127.0.0.1")


def test_given_addresses_are_announced_whatever_the_machine_has() -> None:
    own = OwnAddresses(("203.0.113.7", "2001:db8::7"), read=lambda: ("10.77.0.1",))
    assert own.current() == ("203.0.113.7", "2001:db8::7")
    assert own.names == ()


async def test_a_name_is_announced_as_the_addresses_that_it_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net_addresses, "RESOLVE_INTERVAL_S", 0.01)
    own = OwnAddresses(("localhost", "203.0.113.7"))
    assert own.names == ("localhost",)
    assert own.current() == ("203.0.113.7",)
    task = asyncio.create_task(own.follow_names())
    await until(lambda: "127.0.0.1" in own.current())
    assert own.current()[-1] == "203.0.113.7"
    task.cancel()


async def test_a_name_that_is_not_found_keeps_its_last_addresses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(net_addresses, "RESOLVE_INTERVAL_S", 0.01)
    own = OwnAddresses(("nowhere.invalid", "127.0.0.1"))
    task = asyncio.create_task(own.follow_names())
    await until(lambda: "cannot resolve nowhere.invalid of media.announce" in caplog.text)
    assert own.current() == ("127.0.0.1",)
    task.cancel()
