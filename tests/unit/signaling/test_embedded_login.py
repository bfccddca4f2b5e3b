"""The file with the embedded broker's login: made once, for this user alone, and found by the commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.embedded_login import file_of, kept_url, with_kept_login

ANONYMOUS = BrokerUrl("mqtt", "127.0.0.1", 1883)


def test_a_login_is_made_once_for_each_port_and_read_by_nobody_else(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "state"
    first = kept_url(directory, 1883)
    assert kept_url(directory, 1883) == first
    assert kept_url(directory, 1884).password != first.password
    assert first.password
    assert len(first.password) >= 32
    assert {path.name for path in directory.iterdir()} == {"broker-1883.url", "broker-1884.url"}
    assert file_of(directory, 1883).stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_file_that_others_can_read_is_closed_and_a_broken_one_replaced(tmp_path: Path) -> None:
    first = kept_url(tmp_path, 1883)
    path = file_of(tmp_path, 1883)
    path.chmod(0o644)
    assert kept_url(tmp_path, 1883) == first
    assert path.stat().st_mode & 0o777 == 0o600
    for broken in ("", "mqtt://127.0.0.1:1883", "\0", "not a URL"):
        path.write_text(broken)
        assert kept_url(tmp_path, 1883).password != first.password


def test_a_directory_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        kept_url(tmp_path / "file", 1883)


def test_commands_of_this_user_get_the_login_for_this_machine_s_broker_alone(tmp_path: Path) -> None:
    kept = kept_url(tmp_path, 1883)
    assert with_kept_login(ANONYMOUS, tmp_path) == kept
    assert with_kept_login(replace(ANONYMOUS, host="localhost"), tmp_path).password == kept.password
    for url in (
        replace(ANONYMOUS, port=1884),
        replace(ANONYMOUS, host="broker.lan"),
        replace(ANONYMOUS, scheme="mqtts"),
        replace(ANONYMOUS, scheme="ws", path="/mqtt"),
        replace(ANONYMOUS, username="ann"),
    ):
        assert with_kept_login(url, tmp_path) == url
    assert with_kept_login(ANONYMOUS, tmp_path / "elsewhere") == ANONYMOUS
