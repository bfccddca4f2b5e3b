"""The parts that the commands of access share: the settings, the authority, rights by role.

Owns the errors for a person who runs them as another user, or before the first start.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from sfu import settings as settings_module
from sfu.access.audit import Audit
from sfu.access.authority import Authority
from sfu.access.rights import EVERYWHERE, Claims
from sfu.commands.command_line import WRONG_USAGE, fail
from sfu.settings import Settings, SettingsError, state_directory
from sfu.signaling.topics import TopicError, check_room
from sfu.wiring.access import make_authority, open_audit

Config = Annotated[Path | None, typer.Option(help="TOML file with the server's settings, if it has one")]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="view, playback, publish, join, record or admin; may be repeated"),
]


def load(config: Path | None) -> Settings:
    """Returns the settings that the server has. Exits if they are wrong."""
    try:
        return settings_module.load(config=config)
    except SettingsError as error:
        fail(str(error), WRONG_USAGE)


def authority_of(settings: Settings) -> Authority:
    """Returns the authority of the server on this machine. Exits if its key cannot be read or made."""
    directory = state_directory(settings.state)
    try:
        return make_authority(settings)
    except SettingsError as error:
        fail(f"{error}\n{_hint(directory)}", WRONG_USAGE)


def audit_of(settings: Settings) -> Audit:
    """Returns the server's audit log, if it has a file: a person's terminal is none. Exits if it cannot be written."""
    if settings.access.audit is None:
        return _no_audit
    try:
        return open_audit(settings)
    except SettingsError as error:
        fail(f"{error}\n{state_hint(settings)}", WRONG_USAGE)


def state_hint(settings: Settings) -> str:
    """Returns the directory that was used, for a person whose server runs as another user."""
    return _hint(state_directory(settings.state))


def check_rooms(rooms: tuple[str, ...]) -> None:
    """Exits if one of them is no room. `*` stands for all."""
    for room in rooms:
        try:
            if room != EVERYWHERE:
                check_room(room)
        except TopicError as error:
            fail(f"{error}; * stands for all rooms", WRONG_USAGE)


def _no_audit(event: str, claims: Claims | None = None, **fields: str | float | None) -> None:
    """Writes nothing."""


def _hint(directory: Path) -> str:
    return (
        f"State of the server: {directory} (as user {getpass.getuser()}). If the server runs as another user, run this "
        "command as that user, or set SFU_STATE to its directory."
    )
