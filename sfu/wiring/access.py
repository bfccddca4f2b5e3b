"""From the settings of access to the authority, and to what leaves ask for.

Owns the meaning of `access.mode` and `access.broker`. Never decides about a message or a request.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sfu.access import served
from sfu.access.audit import AuditLog
from sfu.access.authority import Authority
from sfu.access.keys import kept_or_new_key, read_key
from sfu.access.leaf_rules import LeafMode, LeafRules
from sfu.access.revoked import Revoked
from sfu.access.tokens import Keys
from sfu.access.users import Users, UsersError
from sfu.settings import EMBEDDED, Settings, SettingsError, state_directory
from sfu.signaling.broker_url import BrokerUrl

_log = logging.getLogger(__name__)

_FOLLOW_S: Final = 1.0
"""Interval at which the files of users and revoked tokens are looked at."""


def leaf_mode(settings: Settings) -> LeafMode:
    """Returns what leaves ask for; `auto` looks at how this server logs in at the broker. Raises ValueError."""
    if settings.access.mode == "open":
        return LeafMode.OPEN
    if settings.access.broker != "auto":
        return LeafMode(settings.access.broker)
    known = settings.broker == EMBEDDED or settings.tls.certificate is not None
    return LeafMode.TRUSTED if known or BrokerUrl.parse(settings.broker).username is not None else LeafMode.SEALED


def make_authority(settings: Settings) -> Authority:
    """Returns the authority of this server, with its key. Raises SettingsError if the key is none or cannot be kept."""
    directory = state_directory(settings.state)
    keys = _keys(settings, directory)
    try:
        users = Users(directory)
    except UsersError as error:
        raise SettingsError(str(error)) from error
    return Authority(
        keys,
        revoked=Revoked(directory),
        users=users,
        clock=time.time,
        new_id=lambda: secrets.token_urlsafe(9),
    )


def make_leaf_rules(settings: Settings, authority: Authority | None) -> LeafRules:
    """Returns the rules of leaves, and says in the log which hold and why. Raises SettingsError."""
    try:
        mode = leaf_mode(settings)
    except ValueError as error:
        raise SettingsError(f"broker: {error}") from error
    if mode is LeafMode.OPEN:
        _warn_of_open(settings)
    elif mode is LeafMode.SEALED and settings.access.broker == "auto":
        _log.info(
            "leaves are sealed, since the server logs in at the broker without an account: cameras elsewhere need "
            "`sfu token ROOM --role publish --sealed`. Other ways: an account at the broker "
            "(SFU_BROKER=mqtt://user:password@host), or SFU_ACCESS__BROKER=trusted if all who reach it may write"
        )
    else:
        _log.info("leaves: %s (access.broker is %s)", mode, settings.access.broker)
    return LeafRules(mode, settings.access.legacy, authority)


def _warn_of_open(settings: Settings) -> None:
    host = settings.http.rpartition(":")[0].strip("[]")
    if not settings.http or served.is_loopback(host):
        _log.info("access.mode is open: everybody who reaches the broker may do everything")
        return
    _log.warning(
        "access.mode is open, and HTTP listens on %s: everybody who reaches that address may see all cameras and "
        "recordings. Set SFU_ACCESS__MODE=on, or SFU_HTTP=127.0.0.1:8080",
        settings.http,
    )


def open_audit(settings: Settings) -> AuditLog:
    """Returns the audit log of the settings. Raises SettingsError if its file cannot be written."""
    try:
        return AuditLog(settings.access.audit, time.time)
    except OSError as error:
        raise SettingsError(f"access.audit: {settings.access.audit}: {error.strerror or error}") from error


def note_leaves(settings: Settings, broker: BrokerUrl, page: str | None) -> None:
    """Notes what leaves ask for, for the commands of this user. `page`: its URL, whose door is a broker too."""
    asked = leaf_mode(settings)
    places = {served.place(broker.host, broker.port, settings.base): str(asked)}
    if page is not None:
        url = urlsplit(page)
        door = LeafMode.OPEN if asked is LeafMode.OPEN else LeafMode.TOKENS
        places[served.place(url.hostname or "", url.port or 0, settings.base)] = str(door)
    directory = state_directory(settings.state)
    try:
        served.note(directory, places)
    except OSError as error:
        _log.warning(
            "cannot note in %s what this server asks for (%s): commands on this machine need --token. "
            "Set SFU_STATE to a directory that this user may write",
            directory,
            error.strerror or error,
        )


async def follow_files(authority: Authority) -> None:
    """Takes over what commands write about users and revoked tokens, until cancelled."""
    while True:
        await asyncio.sleep(_FOLLOW_S)
        authority.refresh()


def _keys(settings: Settings, directory: Path) -> Keys:
    chosen, old = (secret.get_secret_value() for secret in (settings.access.key, settings.access.old_key))
    try:
        return Keys(
            read_key(chosen) if chosen else kept_or_new_key(directory),
            read_key(old) if old else None,
        )
    except ValueError as error:
        raise SettingsError(f"access.key: {error}") from error
    except OSError as error:
        raise SettingsError(
            f"cannot keep the key in {directory} ({error.strerror or error}): set SFU_STATE to a directory that this "
            "user may write, or SFU_ACCESS__KEY to a key"
        ) from error
