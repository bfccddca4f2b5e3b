"""The broker's logins: the kept one of the embedded broker, and a renewed one of any other.

Owns when a login is read again. Never connects.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from sfu.credentials import masked
from sfu.settings import EMBEDDED, Settings, SettingsError, state_directory
from sfu.signaling import embedded_login
from sfu.signaling.broker_url import BrokerUrl

_log = logging.getLogger(__name__)


def embedded_password(settings: Settings) -> str | None:
    """Returns the password that this user's commands find; None if the port is not known to them anyway."""
    port, directory = settings.embedded_port, state_directory(settings.state)
    if not port:
        return None
    try:
        url = embedded_login.kept_url(directory, port)
    except OSError as error:
        _log.warning(
            "cannot keep the login of the embedded broker in %s (%s): commands on this machine will not find it. "
            "Set SFU_STATE to a directory that this user may write",
            directory,
            error.strerror or error,
        )
        return None
    _log.info("the login of the embedded broker is in %s", embedded_login.file_of(directory, port))
    return url.password


def renewed_url(first: BrokerUrl, reload: Callable[[], Settings]) -> BrokerUrl:
    """Returns the broker's URL with the login of the settings now; the first one if they cannot be read."""
    try:
        settings = reload()
        if settings.broker == EMBEDDED:
            return first
        url = BrokerUrl.parse(settings.broker)
    except (SettingsError, ValueError) as error:
        _log.warning("cannot read the broker's login again, and use the one before: %s", masked(str(error)))
        return first
    return dataclasses.replace(first, username=url.username, password=url.password)
