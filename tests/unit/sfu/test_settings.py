"""Settings: every source in its order, and no typo that passes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sfu.settings import SettingsError, describe, load


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("SFU_")]:
        monkeypatch.delenv(name)


def test_sources_are_asked_in_the_order_of_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line > environment > secrets > file > default."""
    config = tmp_path / "sfu.toml"
    config.write_text('base = "file"\n[media]\nport = 1\nmax_bitrate = "1M"\ncodecs = ["vp8"]\n[limits]\nrooms = 5\n')
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "sfu_base").write_text("secret\n")
    (secrets / "sfu_media__turn_password").write_text("s3cret")
    (secrets / "sfu_media__port").write_text("2")
    monkeypatch.setenv("SFU_MEDIA__PORT", "3")
    settings = load(config=config, secrets=secrets, command_line={"limits.rooms": "6"})
    assert settings.base == "secret"
    assert settings.media.turn_password.get_secret_value() == "s3cret"
    assert (settings.media.port, settings.limits.rooms) == (3, 6)
    assert (settings.media.max_bitrate, settings.media.codecs) == (1_000_000, ("vp8",))
    assert settings.http == "127.0.0.1:8080"


@pytest.mark.parametrize("name", ["SFU_BROKR", "SFU_MEDIA__PRT", "SFU_LIMITS__ROOM"])
def test_an_unknown_variable_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match="unknown setting"):
        load()


@pytest.mark.parametrize("text", ["brokr = 'x'", "[media]\nprt = 1", "[media", "[media]\nport = 70000"])
def test_a_wrong_file_is_an_error(text: str, tmp_path: Path) -> None:
    config = tmp_path / "sfu.toml"
    config.write_text(text)
    with pytest.raises(SettingsError):
        load(config=config)


def test_a_missing_file_and_an_unknown_option_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(config=tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="unknown setting"):
        load(command_line={"media.prt": "1"})


def test_a_wrong_value_is_named_but_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFU_MEDIA__PORT", "hunter2")
    with pytest.raises(SettingsError) as error:
        load()
    assert "media.port" in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("text", ["h264, vp8", '["h264", "vp8"]'])
def test_lists_are_commas_or_json(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFU_MEDIA__CODECS", text)
    assert load().media.codecs == ("h264", "vp8")


@pytest.mark.parametrize("text", ["webrtcphone=lobby/join/phone", '{"webrtcphone": "lobby/join/phone"}'])
def test_tables_are_pairs_or_json(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFU_LEGACY_TOPICS", text)
    assert load().legacy_topics == {"webrtcphone": "lobby/join/phone"}


def test_rooms_may_have_bit_rates_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFU_MEDIA__ROOM_BITRATES", "site/gate=1M,hall=300k-2.5M")
    assert load().media.room_bitrates == {"site/gate": (0, 1_000_000), "hall": (300_000, 2_500_000)}
    monkeypatch.setenv("SFU_MEDIA__ROOM_BITRATES", "hall=3M-2M")
    with pytest.raises(SettingsError, match="lower"):
        load()


def test_every_setting_says_what_it_means() -> None:
    assert all(text for _, _, text in describe())
    assert "SFU_MEDIA__PORT" in {name for name, _, _ in describe()}


def test_the_broker_may_come_from_a_file_and_variables_of_the_clients_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broker").write_text("mqtt://me:secret@broker\n")
    monkeypatch.setenv("SFU_BROKER", f"@{tmp_path}/broker")
    monkeypatch.setenv("SFU_SOURCE", "rtsp://cam")
    monkeypatch.setenv("SFU_TOKEN", "abc")
    assert load().broker == "mqtt://me:secret@broker"
    monkeypatch.setenv("SFU_BROKER", "@/nowhere/broker")
    with pytest.raises(SettingsError, match=r"broker: .*cannot read /nowhere/broker: No such file"):
        load()


def test_an_empty_path_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Compose files, which pass a variable on that is not set; `.` would be the working directory."""
    for name in ("SFU_RECORDING__SCRATCH", "SFU_STATE", "SFU_TLS__CA"):
        monkeypatch.setenv(name, "")
    settings = load()
    assert (settings.recording.scratch, settings.state, settings.tls.ca) == (None, None, None)
