"""The bytes of MP4 fragments; that players take them, the tests of the muxer show."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from recorder.segments.fragments import annex_b_to_length_prefixed
from recorder.segments.muxer import Muxer
from recorder.store import mp4
from tests.helpers.recordings import muxed, tracks_of, units

NAL_UNIT = st.binary(min_size=1, max_size=60).filter(lambda unit: b"\0\0" not in unit and unit[-1])


@given(st.lists(st.tuples(st.sampled_from([b"\0\0\1", b"\0\0\0\1"]), NAL_UNIT), max_size=6))
def test_start_codes_become_lengths(sent: list[tuple[bytes, bytes]]) -> None:
    annex_b = b"".join(code + unit for code, unit in sent)
    assert b"".join(annex_b_to_length_prefixed(annex_b)) == b"".join(
        struct.pack(">I", len(unit)) + unit for _, unit in sent
    )


def test_the_index_leads_to_every_fragment() -> None:
    data = b"".join(muxed(Muxer(tracks_of("H264"), start_us=0, title=""), units("H264")))
    found = mp4.layout(lambda at, size: data[at : at + size], len(data))
    assert found.end == len(data)
    index = data[found.parts[-1].offset + found.parts[-1].size :]
    assert index[4:8] == b"mfra"
    assert struct.unpack(">I", index[-4:])[0] == len(index)
    video = index.index(b"tfra") + 20
    places = [struct.unpack_from(">QQBBB", index, video + 19 * number) for number in range(len(found.parts))]
    assert [place[1] for place in places] == [part.offset for part in found.parts]
    assert [round(place[0] / 90_000) for place in places] == [0, 1, 2, 3]


def test_fragments_are_numbered() -> None:
    data = b"".join(muxed(Muxer(tracks_of(None), start_us=0, title=""), units(None)))
    numbers = [struct.unpack_from(">I", part, 4)[0] for part in data.split(b"mfhd")[1:]]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert len(numbers) == 4
