"""Signalling messages: the examples of docs/protocol.md and of the original app, their bounds, and arbitrary bytes."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfu.signaling.bodies import (
    MAX_PAYLOAD_BYTES,
    Answer,
    Body,
    Bye,
    Candidate,
    ErrorCode,
    ErrorNotice,
    Offer,
    Select,
    SignalError,
    Sizes,
    SlotStatus,
    SourceStatus,
    Tracks,
)
from sfu.signaling.messages import Envelope, SealedFrame, dump, dump_sealed, parse, parse_sealed

SOURCE = SourceStatus("site/gate", "cam", "0", "H264")
EXAMPLES: list[tuple[Body, dict[str, Any]]] = [
    (Offer("v=0\r\n"), {"type": "offer", "data": "v=0\r\n"}),
    (Answer("v=0\r\n"), {"type": "answer", "data": "v=0\r\n"}),
    (Candidate(None), {"type": "candidate", "data": None}),
    (
        Candidate("candidate:1 1 udp 1 10.0.0.1 5 typ host", "0", 0),
        {
            "type": "candidate",
            "data": {"candidate": "candidate:1 1 udp 1 10.0.0.1 5 typ host", "sdpMid": "0", "sdpMLineIndex": 0},
        },
    ),
    (Candidate(None, "1", 1), {"type": "candidate", "data": {"candidate": "", "sdpMid": "1", "sdpMLineIndex": 1}}),
    (Bye("user"), {"type": "bye", "data": {"reason": "user"}}),
    (ErrorNotice(ErrorCode.LIMIT, "full"), {"type": "error", "data": {"code": "limit", "message": "full"}}),
    (
        ErrorNotice(ErrorCode.RATE_LIMITED, "slow down", 2.5),
        {"type": "error", "data": {"code": "rate_limited", "message": "slow down", "retry_after": 2.5}},
    ),
    (
        Tracks((SlotStatus("0", "video", SOURCE), SlotStatus("1", "audio"), SlotStatus("2", "video", SOURCE, "codec"))),
        {
            "type": "tracks",
            "data": {
                "slots": [
                    {
                        "mid": "0",
                        "kind": "video",
                        "source": {"room": "site/gate", "peer": "cam", "track": "0", "codec": "H264"},
                    },
                    {"mid": "1", "kind": "audio", "source": None},
                    {
                        "mid": "2",
                        "kind": "video",
                        "source": {"room": "site/gate", "peer": "cam", "track": "0", "codec": "H264"},
                        "reason": "codec",
                    },
                ]
            },
        },
    ),
    (Select("0", None), {"type": "select", "data": {"mid": "0", "peer": None}}),
    (
        Select("0", "cam", "site/gate", "1", "h"),
        {"type": "select", "data": {"mid": "0", "peer": "cam", "room": "site/gate", "track": "1", "layer": "h"}},
    ),
    (
        Sizes({"0": (640, 360), "2": (0, 0)}),
        {
            "type": "sizes",
            "data": {"slots": [{"mid": "0", "width": 640, "height": 360}, {"mid": "2", "width": 0, "height": 0}]},
        },
    ),
]


def message(**fields: Any) -> bytes:
    """A signalling message; a field given as ... is left out."""
    whole = {"command": "signal", "clientid": "peer", "type": "offer", "data": "v=0\r\n"} | fields
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


@pytest.mark.parametrize(("body", "fields"), EXAMPLES, ids=lambda value: getattr(value, "type", ""))
def test_each_body_reads_and_writes_as_the_contract_shows(body: Body, fields: dict[str, Any]) -> None:
    assert parse(message(**fields)) == Envelope("peer", body)
    assert json.loads(dump(Envelope("peer", body))) == {"command": "signal", "clientid": "peer", **fields}


def test_a_v2_message_says_so_and_carries_everything() -> None:
    envelope = Envelope("peer", Offer("v=0\r\n"), session="12345678", token="jwt", opts={"audio": True})
    assert parse(dump(envelope)) == envelope
    assert json.loads(dump(envelope))["v"] == 2


def test_a_sealed_message_has_a_frame_and_a_numbered_inside() -> None:
    frame = SealedFrame("peer", "header.payload", "c2VhbGVk")
    assert parse_sealed(dump_sealed(frame)) == frame
    assert parse(dump_sealed(frame)) is None
    assert parse_sealed(message()) is None
    inner = Envelope("peer", Bye("done"), session="12345678", n=7)
    assert parse(dump(inner)) == inner
    notice = ErrorNotice(ErrorCode.REPLAYED, "n is too small", last=1796035177000)
    assert ErrorNotice.read(notice.write()) == notice


@pytest.mark.parametrize(
    "fields", [{"kid": ...}, {"data": ...}, {"data": {}}, {"kid": "x" * 1025}, {"clientid": ""}, {"clientid": "a b"}]
)
def test_a_sealed_message_without_its_parts_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SignalError):
        parse_sealed(message(**{"type": "sealed", "kid": "header.payload", "data": "c2VhbGVk"} | fields))


@pytest.mark.parametrize("n", [-1, 1 << 53, True, "7", 7.0])
def test_a_number_is_an_integer_that_every_reader_holds(n: object) -> None:
    with pytest.raises(SignalError):
        parse(message(n=n))


def test_the_original_apps_message_reads_as_a_legacy_peers() -> None:
    payload = b'{"command":"signal","clientid":"b1d0-11ee","type":"offer","data":"v=0\\r\\ns=caf\xe9\\r\\n"}'
    assert parse(payload) == Envelope("b1d0-11ee", Offer("v=0\r\ns=café\r\n"))


def test_utf_8_goes_before_latin_1_and_only_ascii_comes_out() -> None:
    envelope = Envelope("peer", Offer("v=0\r\ns=สวัสดี\r\n"))
    text = '{"command":"signal","clientid":"peer","type":"offer","data":"v=0\\r\\ns=สวัสดี\\r\\n"}'
    assert parse(text.encode()) == envelope
    assert dump(envelope).isascii()
    assert parse(dump(envelope)) == envelope


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        message(command="chat"),
        message(type="mute"),
        message(command=..., type="answer"),
        message(type=...),
        message(type=[]),
    ],
)
def test_what_is_not_signalling_or_from_the_future_is_ignored(payload: bytes) -> None:
    assert parse(payload) is None


@pytest.mark.parametrize("kind", ["offer", "select"])
def test_a_request_without_its_command_is_told_so(kind: str) -> None:
    with pytest.raises(SignalError, match='"command": "signal"') as caught:
        parse(message(command=..., type=kind, session="12345678"))
    assert caught.value.answerable
    assert caught.value.session == "12345678"


def test_unknown_fields_are_ignored() -> None:
    assert parse(message(seq=7, ts=[], v="?", data="v=0\r\n")) == Envelope("peer", Offer("v=0\r\n"))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"PRESS",
        b"[]",
        b"null",
        b"[" * 60_000,
        b'{"command":"signal","a":NaN}',
        b'{"command":"signal","a":1e999}',
        b'{"command":"signal","a":' + b"1" * 5000 + b"}",
        message(clientid=...),
        message(clientid=""),
        message(clientid="a b"),
        message(clientid="x" * 65),
        message(clientid="peer\n"),
        message(clientid=7),
        message(data=...),
        message(data=""),
        message(data={}),
        message(data="v=0\ud800"),
        message(session="short"),
        message(session="x" * 65),
        message(session=12345678),
        message(token="x" * 4097),
        message(token={}),
        message(opts=[]),
        message(type="candidate", data="candidate:1"),
        message(type="candidate", data={"candidate": "x" * 1025}),
        message(type="candidate", data={"candidate": "c", "sdpMLineIndex": -1}),
        message(type="candidate", data={"candidate": "c", "sdpMLineIndex": True}),
        message(type="candidate", data={"candidate": "c", "sdpMid": 0}),
        message(type="error", data={"message": "m"}),
        message(type="error", data={"code": "limit", "message": "m", "retry_after": "soon"}),
        message(type="tracks", data={"slots": [{}]}),
        message(type="tracks", data={"slots": [{"mid": "0", "kind": "video", "source": {"room": "a"}}]}),
        message(type="tracks", data={"slots": [{"mid": "0", "kind": "video"}] * 65}),
        message(type="tracks", data=[]),
        message(type="select", data={"mid": "0"}),
        message(type="select", data={"peer": "cam"}),
        message(type="select", data={"mid": "0", "peer": "a/b"}),
        message(type="select", data={"mid": "0", "peer": "cam", "room": "bridge"}),
        message(type="select", data=None),
    ],
    ids=lambda payload: payload[-60:].decode(),
)
def test_malformed_messages_are_bad_requests(payload: bytes) -> None:
    with pytest.raises(SignalError) as caught:
        parse(payload)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_64_kib_pass_and_a_byte_more_is_too_large() -> None:
    padding = MAX_PAYLOAD_BYTES - len(message(data="x"))
    assert parse(message(data="x" * (padding + 1))) is not None
    with pytest.raises(SignalError) as caught:
        parse(message(data="x" * (padding + 2)))
    assert caught.value.code is ErrorCode.TOO_LARGE
    with pytest.raises(SignalError) as caught:
        dump(Envelope("peer", Offer("x" * MAX_PAYLOAD_BYTES)))
    assert caught.value.code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    ("kind", "answerable"), [("offer", True), ("select", True), ("answer", False), ("error", False)]
)
def test_only_requests_are_answered_with_errors_in_their_session(kind: str, answerable: bool) -> None:
    with pytest.raises(SignalError) as caught:
        parse(message(type=kind, data=7, session="12345678"))
    assert caught.value.answerable is answerable
    assert caught.value.session == "12345678"


@pytest.mark.parametrize("data", [None, {}, {"reason": 7}, "bye", {"reason": "\ud800"}])
def test_a_bye_is_a_bye_however_badly_put(data: Any) -> None:
    assert parse(message(type="bye", data=data)) == Envelope("peer", Bye(""))


def test_an_error_code_of_a_newer_server_reads_as_internal() -> None:
    parsed = parse(message(type="error", data={"code": "teapot", "message": "short and stout", "retry_after": 10**400}))
    assert parsed == Envelope("peer", ErrorNotice(ErrorCode.INTERNAL, "short and stout", 86_400.0))


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_travels(code: ErrorCode) -> None:
    envelope = Envelope("sfu", ErrorNotice(code, "words"))
    assert parse(dump(envelope)) == envelope


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
kinds = st.sampled_from(["offer", "answer", "candidate", "bye", "error", "tracks", "select"])
data_fields = st.sampled_from(
    ["candidate", "sdpMid", "sdpMLineIndex", "reason", "code", "message", "retry_after", "slots", "mid", "peer", "room"]
)
near_messages = st.fixed_dictionaries(
    {
        "command": st.just("signal"),
        "type": kinds,
        "clientid": st.just("peer") | json_values,
        "data": json_values | st.dictionaries(data_fields, json_values, max_size=6),
    },
    optional={"session": st.just("12345678") | json_values, "token": json_values, "opts": json_values},
).map(lambda value: json.dumps(value).encode())


@given(st.binary(max_size=200) | near_messages)
@example(b"\xff\xfe{}")
@example(b'{"command":"signal","type":"offer","clientid":"p","data":"v=0","opts":{"a":"\\ud800"}}')
def test_any_bytes_give_an_envelope_nothing_or_a_signal_error(payload: bytes) -> None:
    try:
        envelope = parse(payload)
    except SignalError:
        return
    assert envelope is None or parse(dump(envelope)) == envelope
