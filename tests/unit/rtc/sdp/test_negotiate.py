"""Negotiation: the sections that are served, their direction, codecs and windows."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import (
    EXTENSIONS,
    MID,
    REPAIRED_RID,
    RID,
    TRANSPORT_CC,
    VIDEO_ORIENTATION,
    Description,
    Direction,
    Negotiated,
    SdpError,
    Section,
    Setup,
    TransportParameters,
)
from sfu.rtc.sdp.negotiate import FEEDBACK, Role, negotiate
from sfu.rtc.sdp.parse import parse_description
from tests.helpers.offers import NAMES, PREFERENCE, negotiated, offer

VP8 = Codec("VP8", 90000, 1, 96, (), ("nack", "transport-cc"))


def changed(name: str, **values: Any) -> Description:
    """A vector with values replaced in all its sections."""
    description = parse_description(offer(name))
    return replace(description, sections=tuple(replace(section, **values) for section in description.sections))


def decide(description: Description, role: Role = "join") -> Negotiated:
    return negotiate(description, role, preference=PREFERENCE, ssrc=lambda mid: 1)


@pytest.mark.parametrize(
    ("role", "offered", "ours"),
    [
        ("pub", "sendrecv", "recvonly"),
        ("pub", "sendonly", "recvonly"),
        ("pub", "recvonly", "inactive"),
        ("view", "sendrecv", "sendonly"),
        ("view", "recvonly", "sendonly"),
        ("view", "sendonly", "inactive"),
        ("join", "sendrecv", "sendrecv"),
        ("join", "sendonly", "recvonly"),
        ("join", "recvonly", "sendonly"),
        ("join", "inactive", "inactive"),
    ],
)
def test_the_role_limits_the_direction_whatever_is_offered(role: Role, offered: Direction, ours: Direction) -> None:
    for section in decide(changed("chromium-sendrecv", direction=offered), role).sections:
        assert section.direction == ours
        assert (section.receive is not None) == (ours in {"sendrecv", "recvonly"})
        assert (section.send is not None) == (ours in {"sendrecv", "sendonly"})


@pytest.mark.parametrize(("first", "name"), [("h264", "H264"), ("vp8", "VP8"), ("vp9", "VP9"), ("av1", "AV1")])
def test_a_producer_is_told_the_one_codec_we_prefer(first: str, name: str) -> None:
    audio, video = negotiated(offer("chromium-sendrecv"), "pub", (first,)).sections
    assert [codec.name for codec in video.codecs] == [name]
    assert [codec.name for codec in audio.codecs] == ["opus"]
    assert video.receive is not None
    assert video.receive.codecs == video.codecs


def test_the_h264_variant_is_constrained_baseline_in_fragments() -> None:
    (codec,) = negotiated(offer("chromium-sendrecv"), "pub").sections[1].codecs
    assert (codec.parameter("packetization-mode"), codec.parameter("profile-level-id")) == ("1", "42e01f")


def test_a_camera_without_our_favourite_still_works() -> None:
    assert negotiated(offer("gstreamer-unbundled"), "pub").sections[0].codecs[0].name == "VP8"
    assert negotiated(offer("embedded-pub"), "pub").sections[1].codecs[0].name == "PCMA"


def test_interleaved_h264_is_not_served() -> None:
    h264 = parse_description(offer("pion-pub")).sections[0].codecs[0]
    interleaved = replace(h264, parameters=(("packetization-mode", "2"),))
    assert [section.rejected for section in decide(changed("pion-pub", codecs=(h264,))).sections] == [None, None]
    with pytest.raises(SdpError) as caught:
        decide(changed("pion-pub", codecs=(interleaved,)))
    assert caught.value.code == "codec"


def test_a_member_is_told_the_preferred_codec_first_and_may_be_sent_the_others() -> None:
    video = negotiated(offer("chromium-sendrecv"), "join", ("vp9",)).sections[1]
    names = [codec.name for codec in video.codecs]
    assert (names[0], names[2]) == ("VP9", "H264")
    assert video.send is not None
    assert video.receive is not None
    assert video.send.codecs == video.receive.codecs == video.codecs


def test_a_viewer_may_be_sent_everything_it_offers_that_we_know() -> None:
    offered = parse_description(offer("chromium-view")).sections[1].codecs
    agreed = negotiated(offer("chromium-view"), "view").sections[1].codecs
    assert sorted(codec.payload_type for codec in agreed) == sorted(codec.payload_type for codec in offered)
    assert {codec.name for codec in agreed} == {"H264", "VP8", "VP9", "AV1"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", ["pub", "view", "join"])
def test_only_what_was_offered_is_answered(name: str, role: Role) -> None:
    description = parse_description(offer(name))
    agreed = negotiated(offer(name), role)
    extensions = {*EXTENSIONS, TRANSPORT_CC, RID, REPAIRED_RID}
    for section, ours in zip(description.sections, agreed.sections, strict=True):
        assert (ours.index, ours.mid, ours.kind) == (section.index, section.mid, section.kind)
        offered = {codec.payload_type: codec for codec in section.codecs}
        assert all(uri in extensions and section.extensions[uri] == number for uri, number in ours.extensions.items())
        for codec in ours.codecs:
            assert set(codec.feedback) <= {*FEEDBACK, "transport-cc"}
            assert set(codec.feedback) <= set(offered[codec.payload_type].feedback)
        assert all(section.rtx[number] == repaired for repaired, number in ours.rtx.items())
        assert ours.rtx.keys() <= {codec.payload_type for codec in ours.codecs}


def test_retransmissions_are_agreed_to_for_each_codec_answered() -> None:
    section = parse_description(offer("chromium-view")).sections[1]
    decided = negotiated(offer("chromium-view"), "view")
    video = decided.sections[1]
    assert not decided.repeats
    assert video.receive is None
    assert video.send is not None
    assert video.send.rtx == video.rtx
    assert video.rtx == {repaired: number for number, repaired in section.rtx.items()}
    assert len(video.rtx) == len(video.codecs) == 15
    assert video.send.rtx_ssrc == 1000 + sum(b"1 rtx")


def test_a_camera_repairs_the_one_codec_it_is_told() -> None:
    audio, video = negotiated(offer("chromium-sendrecv"), "pub").sections
    (codec,) = video.codecs
    assert video.receive is not None
    assert video.send is None
    assert list(video.receive.rtx.values()) == [codec.payload_type]
    assert video.rtx == {codec.payload_type: next(iter(video.receive.rtx))}
    ((repair, primary),) = video.receive.repairs.items()
    assert video.receive.ssrcs == (primary,)
    assert repair != primary
    assert "nack" in codec.feedback
    assert audio.receive is not None
    assert (audio.rtx, audio.receive.rtx, audio.receive.repairs) == ({}, {}, {})


def test_without_rtx_there_are_neither_its_payload_types_nor_its_ssrcs() -> None:
    decided = decide(changed("chromium-sendrecv", rtx={}))
    video = decided.sections[1]
    assert decided.repeats
    assert video.receive is not None
    assert video.send is not None
    assert (video.rtx, video.receive.rtx, video.receive.repairs) == ({}, {}, {})
    assert (video.send.rtx, video.send.rtx_ssrc) == ({}, None)


@pytest.mark.parametrize("name", ["chromium-wall", "firefox-view", "aiortc-view"])
def test_each_slot_asks_for_two_ssrcs_whether_its_peer_takes_retransmissions_or_not(name: str) -> None:
    asked: list[str] = []

    def ssrc(key: str) -> int:
        asked.append(key)
        return len(asked)

    for description in (parse_description(offer(name)), changed(name, rtx={})):
        asked.clear()
        agreed = negotiate(description, "view", preference=PREFERENCE, ssrc=ssrc)
        mids = [section.mid for section in agreed.sections if section.send]
        assert asked == [key for mid in mids for key in (mid, f"{mid} rtx")]


@pytest.mark.parametrize(
    ("values", "agreed"),
    [
        ({}, True),
        ({"extensions": {MID: 4}}, False),
        ({"extensions": {MID: 4, TRANSPORT_CC: 15}}, False),
        ({"codecs": (replace(VP8, feedback=("nack",)),)}, False),
    ],
)
@pytest.mark.parametrize("role", ["pub", "view"])
def test_transport_wide_feedback_and_its_numbers_come_together_or_not_at_all(
    values: dict[str, Any], agreed: bool, role: Role
) -> None:
    description = changed("chromium-sendrecv", **{"codecs": (VP8,), "extensions": {TRANSPORT_CC: 3}} | values)
    for section in decide(replace(description, sections=description.sections[1:]), role).sections:
        assert (TRANSPORT_CC in section.extensions) == (agreed and role == "pub")
        assert ("transport-cc" in section.codecs[0].feedback) == (agreed and role == "pub")


def test_sound_gets_transport_wide_feedback_too() -> None:
    audio, _ = negotiated(offer("chromium-sendrecv"), "pub").sections
    assert TRANSPORT_CC in audio.extensions
    assert audio.codecs[0].feedback == ("transport-cc",)


@pytest.mark.parametrize("role", ["pub", "join"])
def test_a_camera_is_asked_for_its_layers_in_its_own_order(role: Role) -> None:
    (section,) = negotiated(offer("chromium-simulcast"), role).sections
    assert section.receive is not None
    assert section.receive.rids == ("h", "l")
    assert {RID, REPAIRED_RID, MID} <= section.extensions.keys()


@pytest.mark.parametrize(
    ("values", "role"),
    [
        ({}, "view"),
        ({"rids": ()}, "pub"),
        ({"extensions": {MID: 4, REPAIRED_RID: 5}}, "pub"),
        ({"extensions": {MID: 4, RID: 99}}, "pub"),
        ({"one_way": {RID: "recvonly"}}, "pub"),
    ],
)
def test_layers_are_not_asked_for_where_they_could_not_be_told_apart(values: dict[str, Any], role: Role) -> None:
    (section,) = decide(changed("chromium-simulcast", **values), role).sections
    assert section.rejected is None
    assert section.receive is None or section.receive.rids == ()
    assert not section.extensions.keys() & {RID, REPAIRED_RID}


@pytest.mark.parametrize(("direction", "role"), [("inactive", "pub"), ("inactive", "join"), ("recvonly", "join")])
def test_a_paused_camera_keeps_its_layers_and_their_extensions(direction: Direction, role: Role) -> None:
    (sending,) = decide(changed("chromium-simulcast"), role).sections
    (paused,) = decide(changed("chromium-simulcast", direction=direction), role).sections
    assert (paused.receive, paused.rids) == (None, ("h", "l"))
    assert sending.receive is not None
    assert sending.receive.rids == sending.rids == paused.rids
    assert {RID: sending.extensions[RID], REPAIRED_RID: sending.extensions[REPAIRED_RID]}.items() <= (
        paused.extensions.items()
    )


@pytest.mark.parametrize(
    ("offered", "ours", "received", "sent"),
    [
        ("sendonly", "recvonly", True, False),
        ("recvonly", "sendonly", False, True),
        ("inactive", "inactive", False, False),
    ],
)
def test_an_extension_is_used_in_the_directions_that_both_agree_on(
    offered: Direction, ours: Direction, received: bool, sent: bool
) -> None:
    section = decide(changed("chromium-sendrecv", one_way={VIDEO_ORIENTATION: offered})).sections[1]
    assert section.receive is not None
    assert section.send is not None
    assert section.one_way == {VIDEO_ORIENTATION: ours}
    assert (VIDEO_ORIENTATION in section.receive.extensions) is received
    assert (VIDEO_ORIENTATION in section.send.extensions) is sent
    assert MID in section.receive.extensions.keys() & section.send.extensions.keys()


def test_windows_pair_the_kth_sound_with_the_kth_picture() -> None:
    sections = negotiated(offer("chromium-join-added"), "join").sections
    sent = [(section.send.stream, section.send.track) for section in sections if section.send]
    assert sent == [
        ("window-1", "window-1-audio"),
        ("window-1", "window-1-video"),
        ("window-2", "window-2-audio"),
        ("window-2", "window-2-video"),
    ]


def test_a_wall_gets_a_window_for_each_picture_and_no_data_channel() -> None:
    sections = negotiated(offer("chromium-wall"), "view").sections
    assert [section.send.stream for section in sections if section.send and section.kind == "video"] == [
        f"window-{number}" for number in range(1, 6)
    ]
    assert [section.rejected for section in sections] == [None] * 6 + ["kind"]


def test_a_re_offer_without_a_section_keeps_the_others_and_their_ssrcs() -> None:
    ssrcs = {
        name: {s.mid: s.send.ssrc for s in negotiated(offer(name), "view").sections if s.send}
        for name in ("chromium-wall", "chromium-wall-stopped")
    }
    before, after = ssrcs["chromium-wall"], ssrcs["chromium-wall-stopped"]
    assert after == {mid: ssrc for mid, ssrc in before.items() if mid != "2"}
    again = negotiated(offer("chromium-wall-stopped"), "view")
    assert [section.rejected for section in again.sections] == [None, None, "off", None, None, None, "off"]
    assert again.bundle == ("0", "1", "3", "4", "5")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"rejected": True}, "off"),
        ({"kind": "text"}, "kind"),
        ({"protocol": "UDP/TLS/UDPTL"}, "protocol"),
        ({"rtcp_mux": False}, "rtcp-mux"),
        ({"codecs": ()}, "codec"),
        ({"mid": "elsewhere"}, "bundle"),
    ],
)
def test_one_section_that_cannot_be_served_costs_only_itself(values: dict[str, Any], reason: str) -> None:
    description = parse_description(offer("chromium-sendrecv"))
    audio, video = description.sections
    agreed = decide(replace(description, sections=(replace(audio, **values), video)))
    assert [section.rejected for section in agreed.sections] == [reason, None]
    assert agreed.bundle == ("1",)
    with pytest.raises(SdpError) as caught:
        decide(replace(description, sections=(replace(audio, **values),)))
    assert caught.value.code == "codec"
    assert reason in caught.value.message


@pytest.mark.parametrize(
    "protocol", ["RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "udp/tls/rtp/savpf", "RTP/AVP"]
)
def test_every_protocol_of_rfc_8829_is_taken(protocol: str) -> None:
    agreed = decide(changed("chromium-sendrecv", protocol=protocol))
    assert [(section.rejected, section.protocol) for section in agreed.sections] == [(None, protocol)] * 2


@pytest.mark.parametrize(("offered", "ours"), [("actpass", "passive"), ("active", "passive"), ("passive", "active")])
def test_we_wait_for_the_dtls_hello_unless_the_peer_insists(offered: Setup, ours: str) -> None:
    description = parse_description(offer("chromium-view"))
    section = description.sections[0]
    transport = replace(section.transport, setup=offered)
    sections = (replace(section, transport=transport),)
    assert decide(replace(description, sections=sections, transport=transport)).setup == ours


def test_without_bundle_what_shares_the_first_transport_is_served() -> None:
    assert [s.rejected for s in negotiated(offer("gstreamer-unbundled"), "join").sections] == [None, "bundle"]
    embedded = negotiated(offer("embedded-pub"), "pub")
    assert [section.rejected for section in embedded.sections] == [None, None]
    assert embedded.bundle is None
    assert not any(MID in section.extensions for section in embedded.sections)


def test_the_transport_is_that_of_the_first_section_served() -> None:
    description = parse_description(offer("gstreamer-unbundled"))
    video, audio = description.sections
    unbundled = decide(replace(description, sections=(replace(video, codecs=()), audio)))
    assert unbundled.ufrag == audio.transport.ufrag != description.ufrag
    bundled = replace(description, bundle=("audio1", "video0"))
    assert decide(bundled).ufrag == audio.transport.ufrag
    assert decide(bundled).bundle == ("audio1", "video0")


def test_bundled_sections_may_leave_their_transport_to_the_first() -> None:
    description = parse_description(offer("chromium-sendrecv"))
    audio, video = description.sections
    empty = TransportParameters("", "", (), "actpass")
    agreed = decide(replace(description, sections=(audio, replace(video, transport=empty))))
    assert (agreed.ufrag, agreed.sections[1].rejected) == (description.ufrag, None)


directions: st.SearchStrategy[Direction] = st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"])
real_sections = st.sampled_from([section for name in NAMES for section in parse_description(offer(name)).sections])


@st.composite
def sections(draw: st.DrawFn) -> Section:
    return replace(
        draw(real_sections),
        direction=draw(directions),
        rejected=draw(st.booleans()),
        rtcp_mux=draw(st.booleans()),
        named=draw(st.booleans()),
    )


@given(
    parts=st.lists(sections(), min_size=1, max_size=8), role=st.sampled_from(["pub", "view", "join"]), data=st.data()
)
def test_any_offer_is_answered_section_by_section_or_refused(
    parts: list[Section], role: Role, data: st.DataObject
) -> None:
    parts = [replace(part, index=index, mid=str(index)) for index, part in enumerate(parts)]
    mids = [part.mid for part in parts]
    bundle = data.draw(st.none() | st.lists(st.sampled_from([*mids, "unknown"])).map(tuple))
    offered = Description("", tuple(parts), bundle, False, parts[0].transport)
    try:
        agreed = decide(offered, role)
    except SdpError:
        return
    served = [section for section in agreed.sections if section.rejected is None]
    assert [section.mid for section in agreed.sections] == mids
    assert served
    assert all(section.codecs for section in served)
    assert not any(section.send for section in agreed.sections if role == "pub" or section.rejected)
    assert not any(section.receive for section in agreed.sections if role == "view" or section.rejected)
    assert agreed.bundle is None or set(agreed.bundle) == {section.mid for section in served}


@pytest.mark.parametrize(("role", "unknown"), [("pub", True), ("join", True), ("view", False)])
def test_a_section_that_would_send_in_unknown_codecs_only_says_so(role: Role, unknown: bool) -> None:
    description = parse_description(offer("chromium-sendrecv"))
    first, *others = description.sections
    sections = decide(replace(description, sections=(replace(first, codecs=()), *others)), role).sections
    assert [section.unknown_codecs for section in sections] == [unknown, *(False for _ in others)]
