"""`sfu user`: the people who log in to the page.

Owns how a password is asked for: never as an argument, which every local user can read.
"""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from sfu.access.rights import EVERYWHERE, rights_of
from sfu.access.users import Users, UsersError
from sfu.commands.command_line import FAILED, WRONG_USAGE, fail
from sfu.commands.parts import Config, Roles, audit_of, check_rooms, load, state_hint
from sfu.settings import Settings, state_directory

app: Final = typer.Typer(help="The people who log in to the page.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="the user's name")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="read the password from standard input instead of asking twice")
]


@app.command()
def add(
    name: Name,
    role: Roles = None,
    room: Annotated[
        list[str] | None, typer.Option("--room", help="a room, with its sub-rooms; may be repeated; all by default")
    ] = None,
    *,
    password_stdin: FromStdin = False,
    config: Config = None,
) -> None:
    """Adds a user with roles (playback by default: live pictures and recordings) in rooms (all by default)."""
    settings = load(config)
    rooms = tuple(room or [EVERYWHERE])
    check_rooms(rooms)
    roles = tuple(role or ["playback"])
    users = _users(settings)
    try:
        rights_of(roles)
        users.require_new(name)
    except (ValueError, UsersError) as error:
        fail(str(error), WRONG_USAGE)
    try:
        users.add(name, _password(from_stdin=password_stdin), roles, rooms)
    except UsersError as error:
        fail(str(error), FAILED)
    audit_of(settings)("user_added", user=name, role=",".join(roles), room=",".join(rooms))
    typer.echo(f"{name} may log in: {_may(roles, rooms)}")


@app.command()
def passwd(name: Name, *, password_stdin: FromStdin = False, config: Config = None) -> None:
    """Changes a user's password, which ends the user's sessions."""
    settings = load(config)
    users = _existing(settings, name)
    try:
        users.change_password(name, _password(from_stdin=password_stdin))
    except UsersError as error:
        fail(str(error), FAILED)
    audit_of(settings)("user_changed", user=name)
    typer.echo(f"{name} has a new password; sessions of {name} end within 5 s")


@app.command()
def remove(name: Name, config: Config = None) -> None:
    """Removes a user, which ends the user's sessions."""
    settings = load(config)
    try:
        _existing(settings, name).remove(name)
    except UsersError as error:
        fail(str(error), FAILED)
    audit_of(settings)("user_removed", user=name)
    typer.echo(f"{name} is removed; sessions of {name} end within 5 s")


@app.command("list")
def list_users(config: Config = None) -> None:
    """Lists the users with their roles and rooms."""
    settings = load(config)
    found = list(_users(settings))
    for user in found:
        typer.echo(f"{user.name}  {_may(user.roles, user.rooms)}")
    if not found:
        typer.echo(f"there are no users: add one with sfu user add NAME\n{state_hint(settings)}", err=True)


def _users(settings: Settings) -> Users:
    try:
        return Users(state_directory(settings.state))
    except UsersError as error:
        fail(f"{error}\n{state_hint(settings)}", FAILED)


def _existing(settings: Settings, name: str) -> Users:
    users = _users(settings)
    if users.stamp(name) is None:
        fail(f"there is no user {name}: sfu user list shows all\n{state_hint(settings)}", FAILED)
    return users


def _may(roles: tuple[str, ...], rooms: tuple[str, ...]) -> str:
    where = "all rooms" if EVERYWHERE in rooms else ", ".join(rooms)
    return f"{', '.join(roles)} in {where}"


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for the password: use --password-stdin", WRONG_USAGE)
    return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
