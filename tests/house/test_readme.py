"""What the README shows is what the code takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sfu.settings import describe
from sfu.signaling import messages
from sfu.signaling.topics import Topics, parse_legacy

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)\n```", README, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_message_parses_and_is_written_back_alike(example: str) -> None:
    envelope = messages.parse(example.encode())
    assert envelope is not None
    assert messages.parse(messages.dump(envelope)) == envelope


def test_every_type_of_message_is_shown() -> None:
    shown = {type(envelope.body) for example in EXAMPLES if (envelope := messages.parse(example.encode()))}
    assert shown == set(messages.Body.__args__)


@pytest.mark.parametrize("topic", re.findall(r"`(sfu/[a-z]+/(?:pub|view|join)/[a-z0-9-]+)`", README))
def test_every_leaf_is_one(topic: str) -> None:
    assert Topics("sfu").parse(topic) is not None


def test_every_setting_named_exists() -> None:
    known = {name for name, _, _ in describe()}
    assert set(re.findall(r"SFU_[A-Z_]+", README)) <= known


def test_the_legacy_example_is_one() -> None:
    match = re.search(r'legacy_topics = \{ "(\w+)" = "([\w/]+)" \}', README)
    assert match
    assert parse_legacy({match[1]: match[2]})


@pytest.mark.parametrize("path", re.findall(r"\]\(([\w/.]+)\)", README))
def test_every_file_linked_exists(path: str) -> None:
    assert (Path(__file__).parent.parent.parent / path).exists()
