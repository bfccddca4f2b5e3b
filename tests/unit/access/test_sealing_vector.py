"""The test vector of docs/protocol.md, section 3.3, which programs of others are written by."""

from __future__ import annotations

import re
from pathlib import Path

from sfu.access.sealing import Seal, Speaker, token_of_kid

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_the_vector_of_the_protocol_is_right() -> None:
    part = PAGE.partition("A test vector:")[2].partition("## 4.")[0]
    texts = re.findall(r"`([^`\n]+)`", part)
    token = next(text for text in texts if text.count(".") == 2)
    sealed = texts[-1]
    boot, topic = texts[texts.index("boot") + 1 :][:2]
    inner = re.search(r"```text\n(.*)\n```", part)
    assert inner is not None
    seal = Seal.of_kid(token.rpartition(".")[0], bytes(range(32)))
    assert token == token_of_kid(seal.kid, bytes(range(32)))
    made = seal.close(inner[1].encode(), speaker=Speaker.PEER, topic=topic, boot=boot, nonce=bytes(12))
    assert made == sealed
    assert seal.open(sealed, speaker=Speaker.PEER, topic=topic, boot=boot) == inner[1].encode()
