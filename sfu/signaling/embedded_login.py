"""The login of the embedded broker: a password that is made once, in a file that only this user can read.

Owns that file. With it the commands of this user find their way, and a camera that runs on stays welcome when the
server starts again. Never prints the password.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Final

from sfu.private_files import write_private
from sfu.signaling.broker_url import BrokerUrl

USERNAME: Final = "sfu"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost"})
_PASSWORD_BYTES: Final = 24


def new_password() -> str:
    """Returns a random password, which may stand in a URL and in TOML as it is."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def kept_url(directory: Path, port: int) -> BrokerUrl:
    """Returns the URL of the embedded broker on this port, and keeps it for the next start.

    Raises OSError if the directory cannot be written.
    """
    path = file_of(directory, port)
    url = _read(path) or BrokerUrl("mqtt", "127.0.0.1", port, username=USERNAME, password=new_password())
    write_private(path, f"{url.revealed()}\n")
    return url


def with_kept_login(url: BrokerUrl, directory: Path) -> BrokerUrl:
    """Returns the URL with the login of the embedded broker, if it means one of this user without a login."""
    if url.scheme != "mqtt" or url.host not in _LOOPBACK or url.username is not None:
        return url
    kept = _read(file_of(directory, url.port))
    return url if kept is None else replace(url, username=kept.username, password=kept.password)


def file_of(directory: Path, port: int) -> Path:
    """Returns the path of the file with the URL of the embedded broker on this port."""
    return directory / f"broker-{port}.url"


def _read(path: Path) -> BrokerUrl | None:
    try:
        url = BrokerUrl.parse(path.read_text("utf-8").strip())
    except (OSError, ValueError):
        return None
    return url if url.password else None
