"""Offers that nobody means well: any of at most 64 KiB is read and answered, or refused, in a few milliseconds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtc.sdp.description import SdpError
from sfu.rtc.sdp.parse import MAX_LENGTH, MAX_LINES
from tests.helpers.offers import answer, offer

HEAD = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\n"
    f"a=ice-pwd:{'p' * 24}\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n"
)
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n"
PAYLOAD_TYPES = [*range(64), *range(96, 128)]
ALL_FORMATS = f"m=video 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, PAYLOAD_TYPES))}\r\na=rtcp-mux\r\n"


def numbered(line: str, count: int = 3500) -> str:
    """`line` that often, with its number in place of each {}."""
    return "".join(line.replace("{}", str(number)) + "\r\n" for number in range(count))


def codecs(line: str) -> str:
    return "".join(f"{line.replace('{}', str(number))}\r\n" for number in PAYLOAD_TYPES)


HOSTILE = {
    "no text": "\n" * MAX_LINES,
    "rid gap": f"{HEAD}{VIDEO}a=rid:a send{' ' * 30000}{';' * 30000}pt=1",
    "rid": f"{HEAD}{VIDEO}a=rid:q send {'pt;' * 20000}",
    "rids": HEAD + VIDEO + numbered("a=rid:{} send"),
    "layers": f"{HEAD}{VIDEO}a=simulcast:send {'~q,' * 20000};",
    "layers gap": f"{HEAD}{VIDEO}a=simulcast:recv {' ' * 60000}",
    "inherited extensions": HEAD + numbered("a=extmap:{} urn:ietf:params:rtp-hdrext:sdes:mid", 900) + VIDEO * 60,
    "inherited directions": HEAD + "a=sendrecv\r\na=sendonly\r\n" * 1900 + VIDEO * 60,
    "inherited certificates": HEAD + numbered("a=fingerprint:sha-256 AA:{}") + VIDEO * 60,
    "bundle": f"{HEAD}a=group:BUNDLE {' '.join(map(str, range(11000)))}\r\n" + VIDEO * 60,
    "sources": HEAD + VIDEO + numbered("a=ssrc:{}"),
    "sources of sections": HEAD + (VIDEO + numbered("a=ssrc:{} a:", 60)) * 64,
    "source gap": f"{HEAD}{VIDEO}a=ssrc:1 {' ' * 60000}",
    "source groups": HEAD + VIDEO + numbered("a=ssrc-group:FID {} 1", 2800),
    "source group": f"{HEAD}{VIDEO}a=ssrc-group:FID {'1 ' * 30000}x",
    "stream": f"{HEAD}{VIDEO}a=msid:{'a ' * 30000}",
    "parameters": f"{HEAD}{VIDEO}a=fmtp:96 {'a;' * 30000}",
    "long numbers": HEAD + VIDEO + f"a=fmtp:96 apt={'9' * 60000}",
    "codecs": HEAD + (ALL_FORMATS + codecs("a=rtpmap:{} H264/1") + "a=rtcp-fb:* nack\r\n") * 30,
    "feedback": HEAD + ALL_FORMATS + codecs("a=rtpmap:{} VP8/1") + numbered("a=rtcp-fb:{} nack pli", 2500),
    "feedback for all": HEAD + ALL_FORMATS + codecs("a=rtpmap:{} VP8/1") + "a=rtcp-fb:* nack\r\n" * 3000,
    "formats": f"{HEAD}m=video 9 UDP/TLS/RTP/SAVPF{' 96' * 20000}\r\na=rtcp-mux\r\na=rtpmap:96 VP8/1",
    "candidates": HEAD + VIDEO + "a=candidate:1\r\n" * 3700,
}


def handled(text: str) -> str:
    """Reads an offer and writes the answer, as the server does; returns the outcome. Fails after other exceptions."""
    try:
        answer(text, "join")
    except SdpError as error:
        return error.code
    return "answer"


def cpu_s(text: str) -> float:
    """The shortest CPU time of some runs, each with other formats: those of the run before are in a cache."""
    times = []
    for run in range(1, 4):
        fresh = re.sub("(VP8|H264)/", rf"\g<1>/{run}", text)[:MAX_LENGTH]
        started = time.process_time()
        handled(fresh)
        times.append(time.process_time() - started)
    return min(times)


@pytest.fixture(scope="module")
def plain_s() -> float:
    """The CPU time of a real offer that is as long as one may be: browsers' sections, no two alike."""
    head, *sections = offer("chromium-wall").split("m=")
    many = [f"m={section}a=x-number:{number}\r\n" for number, section in enumerate(sections * 9)]
    text = head.replace("a=group:BUNDLE", "a=x-group:")
    for section in many:
        renamed = section.replace("a=mid:", f"a=mid:{len(text)}-")
        if len(text) + len(renamed) > MAX_LENGTH:
            break
        text += renamed
    assert handled(text) == "answer"
    assert len(text) > MAX_LENGTH * 0.8
    return cpu_s(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_offer_takes_much_longer_than_a_real_one_of_its_size(name: str, plain_s: float) -> None:
    text = HOSTILE[name][:MAX_LENGTH]
    assert handled(text) in {"answer", "bad_request", "codec", "too_large"}
    assert cpu_s(text) < 12 * plain_s, f"a real offer takes {plain_s * 1000:.1f} ms"


VALUES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20),
    st.from_regex(r"[ -~]{0,20}", fullmatch=True),
    st.integers(0, 1 << 40).map(str),
    st.sampled_from(["96 VP8/90000", "97 rtx/90000", "97 apt=96", "* nack pli", "0", "sha-256 AB:CD", "BUNDLE 0 1"]),
    st.sampled_from(["h send", "l send pt=96", "send h;l", "10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"]),
    st.sampled_from(["4/sendonly urn:ietf:params:rtp-hdrext:sdes:mid", "1 cname:x", "1", "FID 1 2", "- a", "passive"]),
)
LINES = """
mid msid rtpmap fmtp rtcp-fb ssrc ssrc-group extmap setup fingerprint group ice-ufrag ice-pwd ice-lite rtcp-mux rid x
simulcast sendonly recvonly inactive sendrecv candidate end-of-candidates bundle-only
"""
NAMES_OF_LINES = st.sampled_from(LINES.split())
ATTRIBUTES = st.tuples(NAMES_OF_LINES, st.one_of(st.just(""), VALUES.map(":{}".format))).map("a={0[0]}{0[1]}".format)
MEDIA = st.from_regex(r"m=(audio|video|application) [0-9]{1,6} (UDP/TLS/)?RTP/SAVPF( [0-9*]{1,4})+", fullmatch=True)
SECTION = st.tuples(st.one_of(MEDIA, st.just(VIDEO.rstrip())), st.lists(ATTRIBUTES, max_size=12))


@given(st.lists(ATTRIBUTES, max_size=8), st.lists(SECTION, max_size=6), st.sampled_from(["\r\n", "\n", "\r"]))
def test_any_offer_of_the_grammar_is_answered_or_refused(
    session: list[str], sections: Iterable[tuple[str, list[str]]], end: str
) -> None:
    lines = [*HEAD.split("\r\n")[:-1], *session]
    for first, attributes in sections:
        lines += [first, *attributes]
    assert handled(end.join(lines)) in {"answer", "bad_request", "codec", "too_large"}
