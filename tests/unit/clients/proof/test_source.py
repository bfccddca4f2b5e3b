"""Where tokens come from: a file that is renewed, and the key of this machine's server."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfu.access.rights import Use
from sfu.access.tokens import Keys, read
from sfu.clients.proof.credential import TokenSourceError
from sfu.clients.proof.source import GivenToken, MintedToken, TokenFile, own_id
from sfu.signaling.topics import Leaf, Role

KEY = b"k" * 32


@pytest.mark.parametrize(
    "text", ["yard/pub/cam", "yard/view/eye", "site/gate/join/ann", "yard/view/eye--7", "yard/pub/-"]
)
def test_a_minted_token_allows_its_leaf_and_no_other_room(text: str) -> None:
    leaf = Leaf.parse(text)
    token = MintedToken(lambda: KEY, Use.SEALED).current(leaf)
    assert token is not None
    claims = read(Keys(KEY), token, now=0.0)
    assert claims.may_use(leaf)
    assert claims.use is Use.SEALED
    assert not claims.may_use(Leaf("lobby", leaf.role, leaf.peer))


def test_the_one_token_of_a_load_test_allows_all_below_its_room() -> None:
    token = MintedToken(lambda: KEY, Use.ACCESS, admin=True).current(Leaf.parse("load/view/load"))
    assert token is not None
    claims = read(Keys(KEY), token, now=0.0)
    assert claims.may_use(Leaf.parse("load/3/pub/camera-77"))
    assert not claims.may_use(Leaf.parse("yard/pub/camera-77"))


def test_a_minted_token_serves_the_sessions_of_its_first_minute() -> None:
    source = MintedToken(lambda: KEY, Use.SEALED)
    cam, eye = Leaf.parse("yard/pub/cam"), Leaf.parse("yard/view/eye")
    assert source.current(cam) == source.current(cam)
    assert source.current(eye) != source.current(cam)
    short = MintedToken(lambda: KEY, Use.SEALED, lasts_s=0.0)
    assert short.current(cam) != short.current(cam)


def test_a_key_that_went_away_is_said() -> None:
    with pytest.raises(TokenSourceError, match="--token"):
        MintedToken(lambda: None, Use.SEALED).current(Leaf.parse("yard/pub/cam"))


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    path, leaf = tmp_path / "token", Leaf.parse("yard/pub/cam")
    source = TokenFile(path)
    with pytest.raises(TokenSourceError, match="No such file"):
        source.current(leaf)
    path.write_text("one\n", encoding="utf-8")
    assert source.current(leaf) == "one"
    path.write_text("two\n", encoding="utf-8")
    assert source.current(leaf) == "two"
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(TokenSourceError, match="there is no token in"):
        source.current(leaf)


def test_the_default_id_is_one_that_the_token_allows() -> None:
    token = MintedToken(lambda: KEY, Use.SEALED).current(Leaf.parse("yard/pub/cam"))
    given = GivenToken(token)
    assert own_id(given, Role.PUB, "camera") == "cam"
    assert own_id(given, Role.VIEW, "viewer").startswith("cam--")
    assert own_id(None, Role.PUB, "camera").startswith("camera-")
    assert own_id(GivenToken("t"), Role.VIEW, "viewer").startswith("viewer-")
