"""Codecs: names, parameters, streams that fit a peer, order of preference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtc.sdp.codec import AUDIO, VIDEO, Codec, by_preference, h264_rank, matching, packetization_mode


def codec(name: str, payload_type: int = 96, **parameters: str) -> Codec:
    pairs = tuple((key.replace("_", "-"), value) for key, value in parameters.items())
    return Codec(name, 48000 if name == "opus" else 90000, 1, payload_type, pairs)


def h264(profile_level_id: str, mode: str = "1", payload_type: int = 96) -> Codec:
    return codec("H264", payload_type, profile_level_id=profile_level_id, packetization_mode=mode)


CONSTRAINED_BASELINE, BASELINE, MAIN, HIGH = "42e01f", "42001f", "4d001f", "64001f"


def test_kind_follows_from_the_name() -> None:
    assert [codec(name).kind for name in (*AUDIO, *VIDEO)] == ["audio"] * len(AUDIO) + ["video"] * len(VIDEO)


def test_parameters_are_found_in_any_case() -> None:
    vp9 = codec("VP9", Profile_ID="2")
    assert vp9.parameter("profile-id") == "2"
    assert vp9.parameter("absent") is None
    assert vp9.parameter("absent", "0") == "0"


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("42e01f", 0),
        ("42c015", 0),
        ("4d801f", 0),
        ("58c01f", 0),
        ("42001f", 1),
        ("4d001f", 2),
        ("640c1f", 3),
        ("64001f", 4),
        ("f4001f", 6),
        ("xyz", 6),
        ("", 1),
    ],
)
def test_h264_profiles_rank_by_what_decoders_must_master(text: str, rank: int) -> None:
    assert h264_rank(h264(text)) == rank


def test_h264_without_parameters_is_baseline_in_single_nal_mode() -> None:
    bare = codec("H264")
    assert (h264_rank(bare), packetization_mode(bare)) == (1, 0)


def test_h264_goes_to_the_same_profile_else_the_next_higher_else_any() -> None:
    offered = [h264(MAIN, payload_type=1), h264(CONSTRAINED_BASELINE, payload_type=2), h264(HIGH, payload_type=3)]
    chosen = [matching(h264(profile), offered) for profile in (CONSTRAINED_BASELINE, BASELINE, MAIN, HIGH)]
    assert [codec.payload_type for codec in chosen if codec] == [2, 1, 1, 3]
    assert matching(h264(HIGH), offered[:2]) == offered[0]


def test_h264_fragments_go_only_to_peers_that_take_them() -> None:
    single, fragments, interleaved = (h264(MAIN, mode, payload_type=int(mode)) for mode in "012")
    assert matching(fragments, [single]) is None
    assert matching(fragments, [interleaved]) is None
    assert matching(fragments, [single, fragments]) == fragments
    assert matching(single, [fragments]) == fragments
    assert matching(single, [fragments, single]) == single


@pytest.mark.parametrize(
    ("produced", "offered", "fits"),
    [
        (codec("VP8"), codec("VP8", 120), True),
        (codec("VP8"), codec("VP9", 120), False),
        (codec("VP9"), codec("VP9", 120, profile_id="0"), True),
        (codec("VP9"), codec("VP9", 120, profile_id="2"), False),
        (codec("AV1", profile="0"), codec("AV1", 120), True),
        (codec("AV1"), codec("AV1", 120, profile="1"), False),
        (codec("H265"), codec("H265", 120, profile_id="1", level_id="93"), True),
        (codec("H265"), codec("H265", 120, profile_id="2"), False),
        (codec("opus", stereo="1"), codec("opus", 111), True),
        (Codec("PCMA", 8000, 1, 8), Codec("PCMA", 16000, 1, 97), False),
    ],
)
def test_other_codecs_match_by_name_clock_and_profile(produced: Codec, offered: Codec, fits: bool) -> None:
    assert matching(produced, [offered]) == (offered if fits else None)


def test_preference_orders_names_and_then_takes_the_plainest_variant() -> None:
    offered = [
        codec("H265"),
        codec("VP9", 98, profile_id="2"),
        codec("VP9", 99),
        h264(CONSTRAINED_BASELINE, "0", 1),
        h264(MAIN, "1", 2),
        h264(CONSTRAINED_BASELINE, "1", 3),
        codec("VP8", 100),
    ]
    ordered = by_preference(offered, ("vp9", "H264"))
    assert [(c.name, c.payload_type) for c in ordered] == [
        ("VP9", 99),
        ("VP9", 98),
        ("H264", 3),
        ("H264", 2),
        ("H264", 1),
        ("VP8", 100),
        ("H265", 96),
    ]


codecs = st.builds(
    Codec,
    st.sampled_from((*AUDIO, *VIDEO)),
    st.sampled_from([8000, 48000, 90000]),
    st.integers(1, 2),
    st.integers(0, 127),
    st.lists(
        st.tuples(st.sampled_from(["packetization-mode", "profile-level-id", "profile-id", "profile"]), st.text()),
        max_size=4,
    ).map(tuple),
)


@given(produced=codecs, offered=st.lists(codecs))
def test_any_parameters_match_or_do_not_and_never_raise(produced: Codec, offered: list[Codec]) -> None:
    found = matching(produced, offered)
    assert found is None or (found in offered and found.name == produced.name)
    assert sorted(by_preference(offered, ("vp8",)), key=id) == sorted(offered, key=id)
