"""The access rules that `sfu acl` prints for the accounts of docs/deployment.md."""

from __future__ import annotations

from sfu.access.acl import Account, acl_rules, mosquitto
from sfu.signaling.topics import Leaf

ACCOUNTS = ("sfu", "frontdoor-cam", "ann")


def access_rules(*cameras: str, rooms: tuple[str, ...] = ("*",)) -> str:
    """Returns the text of an `acl_file` for `ACCOUNTS` and more cameras (`site/gate/pub/gate-cam`)."""
    leaves = [Leaf.parse(text) for text in ("frontdoor/pub/frontdoor-cam", *cameras)]
    return mosquitto(acl_rules("sfu", "sfu", leaves, [Account("ann", ("record",), rooms)]))
