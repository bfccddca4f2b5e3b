"""`sfu token` and `sfu link`: tokens on the standard output, and all words about them on the standard error.

Owns what a new token is called and how long it holds. Never sends one anywhere.
"""

from __future__ import annotations

import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from sfu.access import served
from sfu.access.authority import Authority
from sfu.access.rights import Claims, Right, Use, rights_of
from sfu.access.tokens import TokenError
from sfu.commands.command_line import FAILED, WRONG_USAGE, fail
from sfu.commands.parts import Config, Roles, audit_of, authority_of, check_rooms, load, state_hint
from sfu.settings import Settings, state_directory
from sfu.units import parse_duration
from sfu.wiring.link import kept_page, one_time_link

_LEAF_RIGHTS: Final = frozenset({Right.VIEW, Right.PUBLISH})
_SEALED: Final = "sealed"
_FOREVER: Final = float("inf")
STDIN: Final = "-"


def token(
    rooms: Annotated[
        list[str] | None, typer.Argument(metavar="ROOM...", help="rooms, with their sub-rooms; * for all")
    ] = None,
    *,
    role: Roles = None,
    sub: Annotated[
        str | None, typer.Option(help="whose token it is; a camera's id, with which it must publish")
    ] = None,
    ttl: Annotated[str, typer.Option(help="how long it holds, e.g. 90m, 1h, 365d")] = "1h",
    sealed: Annotated[
        bool, typer.Option("--sealed", help="for a broker that strangers read: the token itself is never sent there")
    ] = False,
    revoke: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="end a token by its id (jti), or by itself from @FILE or, with -, from standard input"
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Prints a new access token for ROOM, or ends one with --revoke."""
    settings = load(config)
    if revoke is not None:
        if rooms or role:
            fail("--revoke stands alone: sfu token --revoke ID", WRONG_USAGE)
        _revoke(settings, revoke)
        return
    if not rooms or not role:
        fail("name a room and a role, e.g. sfu token frontdoor --role view", WRONG_USAGE)
    check_rooms(tuple(rooms))
    audit, lasts_s = audit_of(settings), _duration(ttl)
    use = Use.SEALED if sealed else Use.ACCESS
    try:
        text, claims = authority_of(settings).mint(
            sub or f"{role[0]}-{secrets.token_hex(3)}", rooms, rights_of(role), lasts_s=lasts_s, use=use
        )
    except ValueError as error:
        fail(str(error), WRONG_USAGE)
    audit("minted", claims, use=use, room=",".join(rooms), role=",".join(role))
    typer.echo(text)
    _explain(settings, claims)


def link(
    url: Annotated[str | None, typer.Option(help="address of the page; by default that of the server's start")] = None,
    config: Config = None,
) -> None:
    """Prints a link that opens the page once, within 15 minutes, with all rights."""
    settings = load(config)
    page = url or kept_page(settings)
    if page is None:
        fail(f"no server has started here yet: name the page's address with --url\n{state_hint(settings)}", WRONG_USAGE)
    audit = audit_of(settings)
    text, claims = one_time_link(authority_of(settings), page if page.endswith("/") else f"{page}/")
    audit("minted", claims, use=Use.ONCE)
    typer.echo(text)


def _explain(settings: Settings, claims: Claims) -> None:
    until = datetime.fromtimestamp(claims.until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    lines = [f"for {claims.sub} in {', '.join(claims.room)}, until {until}; to end it: sfu token --revoke {claims.jti}"]
    if Right.PUBLISH in claims.can and Right.ADMIN not in claims.can:
        lines.append(f"a camera uses it with this id: sfu publish {claims.room[0]} SOURCE --id {claims.sub}")
    if claims.use is Use.ACCESS and claims.can & _LEAF_RIGHTS and _asked_for_seals(settings):
        lines.append(
            "it opens the page and ws://SERVER/mqtt; at the broker this server takes sealed messages only: "
            "make that token with --sealed"
        )
    typer.echo("\n".join(lines), err=True)


def _asked_for_seals(settings: Settings) -> bool:
    return _SEALED in served.all_asked(state_directory(settings.state))


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        fail(f"--ttl {text}: {error}", WRONG_USAGE)
    if not seconds > 0:
        fail("--ttl: a token holds for some time, e.g. 1h", WRONG_USAGE)
    return seconds


def _revoke(settings: Settings, given: str) -> None:
    authority, audit = authority_of(settings), audit_of(settings)
    jti, until = _named(authority, given)
    try:
        fresh = authority.revoked.add(jti, until)
    except (OSError, ValueError) as error:
        fail(f"cannot revoke: {error}\n{state_hint(settings)}", FAILED)
    audit("revoked", jti=jti)
    typer.echo(f"{jti} is revoked: its sessions end within 5 s" if fresh else f"{jti} was revoked before", err=True)


def _named(authority: Authority, given: str) -> tuple[str, float]:
    """Returns the id that a person named, by itself or by its whole token, and until when it must be remembered."""
    text = given
    try:
        if given == STDIN:
            text = sys.stdin.read()
        elif given.startswith("@"):
            text = Path(given[1:]).read_text("utf-8")
    except (OSError, UnicodeError) as error:
        fail(f"--revoke {given}: {getattr(error, 'strerror', None) or error}", WRONG_USAGE)
    text = text.strip()
    if "." not in text:
        return text, _FOREVER
    try:
        claims = authority.read(text, *Use)
    except TokenError as error:
        fail(str(error), WRONG_USAGE)
    return claims.jti, claims.until
