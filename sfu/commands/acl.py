"""`sfu acl`: the rules of a broker that knows accounts, for the users and cameras of this server.

Owns which accounts there are. Never talks to a broker.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from sfu.access.acl import Account, acl_rules, emqx, mosquitto
from sfu.access.users import Users, UsersError
from sfu.commands.command_line import FAILED, WRONG_USAGE, fail
from sfu.commands.parts import Config, load, state_hint
from sfu.settings import EMBEDDED, Settings, state_directory
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.topics import Leaf, Role, TopicError

_SERVER = "sfu"


def acl(
    broker: Annotated[Literal["mosquitto", "emqx"], typer.Option("--for", help="the broker's kind")] = "mosquitto",
    camera: Annotated[
        list[str] | None,
        typer.Option(metavar="ROOM/ID", help="a camera's account, e.g. frontdoor/cam-1; may be repeated"),
    ] = None,
    config: Config = None,
) -> None:
    """Prints the broker's access rules for this server, its users and the cameras that are named."""
    settings = load(config)
    server = _server_account(settings)
    cameras = [_camera(text) for text in camera or []]
    users = _users(settings)
    names = [server, *sorted({leaf.peer for leaf in cameras}), *(user.name for user in users)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        fail(f"{', '.join(twice)}: the server, each camera and each user need an account of their own", WRONG_USAGE)
    rules = acl_rules(settings.base, server, cameras, users)
    typer.echo(mosquitto(rules) if broker == "mosquitto" else emqx(rules, settings.base), nl=False)
    typer.echo(f"accounts to make at the broker: {', '.join(names)}", err=True)


def _server_account(settings: Settings) -> str:
    """Returns the name with which the server logs in; `sfu` if the settings have none yet."""
    if settings.broker == EMBEDDED:
        return _SERVER
    try:
        return BrokerUrl.parse(settings.broker).username or _SERVER
    except ValueError as error:
        fail(f"broker: {error}", WRONG_USAGE)


def _camera(text: str) -> Leaf:
    room, _, name = text.rpartition("/")
    try:
        return Leaf.parse(f"{room}/{Role.PUB}/{name}")
    except TopicError as error:
        fail(f"--camera {text}: write ROOM/ID, e.g. frontdoor/cam-1 ({error})", WRONG_USAGE)


def _users(settings: Settings) -> list[Account]:
    try:
        return [Account(user.name, user.roles, user.rooms) for user in Users(state_directory(settings.state))]
    except UsersError as error:
        fail(f"{error}\n{state_hint(settings)}", FAILED)
