"""The server's own topics: what an answer to a request says."""

from __future__ import annotations

import json

import pytest

from sfu.bridge import refusal
from sfu.signaling.topics import BridgeRequest


@pytest.mark.parametrize(
    ("payload", "echo"),
    [
        (b'{"transaction": 7}', {"transaction": 7}),
        (b'{"transaction": "abc"}', {"transaction": "abc"}),
        (json.dumps({"transaction": "x" * 2000}).encode(), {"transaction": "x" * 256}),
        (json.dumps({"transaction": ["x" * 2000]}).encode(), {}),
        (json.dumps({"transaction": 7, "more": "x" * 60_000}).encode(), {}),
        (b'["transaction"]', {}),
        (b"\xff", {}),
    ],
)
def test_an_answer_repeats_the_transaction_and_is_short(payload: bytes, echo: dict[str, object]) -> None:
    answer = refusal(BridgeRequest("dance"), payload)
    assert json.loads(answer) == {"status": "error", "error": "unknown command dance"} | echo
    assert len(answer) < 400


def test_an_answer_repeats_the_start_of_a_long_command() -> None:
    assert len(refusal(BridgeRequest("d" * 60_000), b"{}")) < 400
