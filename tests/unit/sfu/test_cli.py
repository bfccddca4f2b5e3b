"""`--help` of every command: each default can be read there."""

from __future__ import annotations

import inspect
import re

import pytest
from typer.testing import CliRunner

from recorder.cli import app as recorder_app
from sfu.cli import app as sfu_app
from sfu.settings import describe

APPS = {"sfu": sfu_app, "recorder": recorder_app}
COMMANDS = [
    (name, command.name or getattr(command.callback, "__name__", ""))
    for name, app in APPS.items()
    for command in app.registered_commands
]


def help_of(program: str, command: str) -> str:
    """The text without the frames and line breaks of the terminal."""
    shown = CliRunner().invoke(APPS[program], [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown.output).split())


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_help_shows_every_default(program: str, command: str) -> None:
    text = help_of(program, command)
    (callback,) = [
        each.callback
        for each in APPS[program].registered_commands
        if command in (each.name, getattr(each.callback, "__name__", None))
    ]
    assert callback is not None
    for parameter in inspect.signature(callback).parameters.values():
        default = parameter.default
        if default not in (None, False, inspect.Parameter.empty):
            assert f"[default: {default}]" in text, parameter


def test_help_of_the_server_shows_every_setting_with_its_default() -> None:
    text = help_of("sfu", "serve")
    for name, default, meaning in describe():
        assert f"{name} {f'(default {default}) ' if default else ''}{meaning}" in text


def test_help_of_the_remote_recorder_shows_the_defaults_of_its_settings() -> None:
    text = help_of("recorder", "serve")
    defaults = {name: default for name, default, _ in describe()}
    for name in ("SFU_BASE", "SFU_RECORDING__DIR", "SFU_RECORDING__SEGMENT"):
        assert f"({name}; default: {defaults[name]})" in text


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: object) -> None:
    ended = CliRunner().invoke(sfu_app, ["publish", "yard", f"@{tmp_path}/none"])
    assert ended.exit_code == 2
    assert ended.stderr.splitlines() == [f"source: cannot read {tmp_path}/none: No such file or directory"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("view", "yard", "mqtt://me:secret@broker"),
        ("mqtt://me:secret@broker",),
    ],
)
def test_an_argument_that_is_not_understood_is_shown_without_its_password(arguments: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(sfu_app, arguments, env={"COLUMNS": "200"})
    assert ended.exit_code == 2
    assert "mqtt://me:***@broker" in ended.output
    assert "secret" not in ended.output
