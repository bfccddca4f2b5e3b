"""The examples in README.md and docs/protocol.md are what the code reads and writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from sfu.signaling import bodies, messages
from sfu.signaling.topics import Topics, parse_legacy

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)\n```", PROTOCOL, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_message_parses_and_is_written_back_alike(example: str) -> None:
    envelope = messages.parse(example.encode())
    assert envelope is not None
    assert messages.parse(messages.dump(envelope)) == envelope


def test_every_type_of_message_is_shown() -> None:
    shown = {type(envelope.body) for example in EXAMPLES if (envelope := messages.parse(example.encode()))}
    assert shown == set(get_args(bodies.Body))


@pytest.mark.parametrize("topic", re.findall(r"`(sfu/[a-z]+/(?:pub|view|join)/[a-z0-9-]+)`", README + PROTOCOL))
def test_every_leaf_is_one(topic: str) -> None:
    assert Topics("sfu").parse(topic) is not None


def test_the_legacy_example_is_one() -> None:
    match = re.search(r'legacy_topics = \{ "(\w+)" = "([\w/]+)" \}', PROTOCOL)
    assert match
    assert parse_legacy({match[1]: match[2]})
