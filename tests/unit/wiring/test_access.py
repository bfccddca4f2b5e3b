"""What the settings of access mean for leaves, and the warnings about them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sfu import settings
from sfu.settings import Settings
from sfu.wiring.access import leaf_mode, make_leaf_rules


def chosen(**changes: str) -> Settings:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return settings.load(command_line=named, secrets=Path("/nonexistent"))


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"access__mode": "open"}, "open"),
        ({"broker": "embedded"}, "trusted"),
        ({"broker": "mqtt://sfu:north@broker.lan"}, "trusted"),
        ({"broker": "mqtt://broker.lan"}, "sealed"),
        ({"broker": "mqtts://broker.lan", "tls__certificate": "/etc/sfu.pem"}, "trusted"),
        ({"broker": "mqtt://broker.lan", "access__broker": "tokens"}, "tokens"),
        ({"broker": "embedded", "access__broker": "sealed"}, "sealed"),
    ],
)
def test_leaves_ask_for_more_where_the_broker_knows_nobody(changes: dict[str, str], mode: str) -> None:
    assert leaf_mode(chosen(**{"access__mode": "on", **changes})) == mode


@pytest.mark.parametrize(
    ("http", "warned"),
    [
        ("127.0.0.1:8080", False),
        ("[::1]:8080", False),
        ("localhost:8080", False),
        ("", False),
        ("0.0.0.0:8080", True),
        (":8080", True),
        ("192.0.2.7:8080", True),
    ],
)
def test_an_open_server_warns_unless_only_this_machine_reaches_it(
    http: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        make_leaf_rules(chosen(access__mode="open", http=http), None)
    assert [record.levelno for record in caplog.records] == [logging.WARNING if warned else logging.INFO]


def test_a_sealed_server_names_the_ways_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        make_leaf_rules(chosen(access__mode="on", broker="mqtt://broker.lan"), None)
    for way in ("--sealed", "SFU_BROKER=mqtt://user:password@host", "SFU_ACCESS__BROKER=trusted"):
        assert way in caplog.text
