"""The server's own topics: what an answer to a request says."""

from __future__ import annotations

import json

import pytest

from sfu.bridge import OwnTopics, refusal
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.link import BrokerLink
from sfu.signaling.topics import BridgeRequest, Topics


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
        (b"[" * 4096, {}),
        (b'{"transaction": ' + b"[" * 900 + b"]" * 900 + b"}", {}),
    ],
)
def test_an_answer_repeats_the_transaction_and_is_short(payload: bytes, echo: dict[str, object]) -> None:
    answer = refusal(BridgeRequest("dance"), payload)
    assert json.loads(answer) == {"status": "error", "error": "unknown command dance"} | echo
    assert len(answer) < 400


def test_an_answer_repeats_the_start_of_a_long_command() -> None:
    assert len(refusal(BridgeRequest("d" * 60_000), b"{}")) < 400


async def test_a_deeply_nested_bridge_info_is_no_second_server(caplog: pytest.LogCaptureFixture) -> None:
    topics = Topics("sfu")
    link = BrokerLink(
        BrokerUrl("mqtt", "127.0.0.1", 1), client_id="a", subscriptions=(), on_message=lambda message: None
    )
    OwnTopics(link, topics, "sfu-a").heard(topics.bridge_info, b"[" * 60_000)
    assert not caplog.text
