"""Settings that other parts check: their faults become faults of settings, which name the setting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sfu.settings import Settings, SettingsError
from sfu.signaling.topics import TopicError, Topics, parse_legacy


@contextmanager
def setting_fault(name: str) -> Iterator[None]:
    """Raises SettingsError, which names the setting, for a ValueError."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error


def topics_of(settings: Settings) -> Topics:
    """Returns the topics of a server. Raises SettingsError."""
    try:
        return Topics(settings.base, parse_legacy(settings.legacy_topics))
    except TopicError as error:
        raise SettingsError(str(error)) from error
