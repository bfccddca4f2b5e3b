"""Settings: one frozen value, validated once. The service passes its parts on; no other part reads the environment.

Owns all names, defaults and limits, and the order of sources: command line > environment (`SFU_`, nested with `__`) >
`/run/secrets` > TOML file > defaults. An unknown key is an error everywhere: a typing error must not mean the default.
Never checks values against the world, such as addresses or directories.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from sfu.setting_forms import OptionalPath, Seconds, Text, Words, table
from sfu.setting_parts import AccessSettings, LimitSettings, MediaSettings, SettingsPart, TlsSettings

PREFIX: Final = "SFU_"
CLIENT_VARIABLES: Final = ("SFU_SOURCE", "SFU_TOKEN")
"""Variables that the client commands read, and a server with the same environment leaves alone."""
SECRETS: Final = Path("/run/secrets")
EMBEDDED: Final = "embedded"


class RecordingMode(StrEnum):
    """The way in which a room's recordings begin."""

    OFF = "off"
    """Never."""
    ON_DEMAND = "on_demand"
    """When ON is published on `recordings/set`."""
    ALWAYS = "always"
    """With each producer, until OFF is published."""
    EVENT = "event"
    """As on demand, and the recording includes the seconds just before ON."""


class OnFull(StrEnum):
    """The effect of a full disk: the oldest segments are deleted, or recording pauses until there is space."""

    FREE = "free"
    PAUSE = "pause"


class SettingsError(Exception):
    """Wrong settings; the text has one line for each."""


def _default(text: str) -> Any:
    """Returns a default in readable form; it is validated like any other value."""
    return text


class RoomRecordingSettings(SettingsPart):
    """Other values for one room and its sub-rooms: `always segment=5m keep=90d keep_bytes=50GB preroll=10s`."""

    mode: RecordingMode | None = None
    segment: Annotated[Seconds, Field(ge=1)] | None = None
    preroll: Annotated[Seconds, Field(ge=0, le=300)] | None = None
    keep: Annotated[Seconds, Field(gt=0)] | None = None
    keep_bytes: Annotated[ByteSize, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """Reads words: the mode, and `name=value` for the others."""
        if not isinstance(value, str):
            return value
        pairs = (word.partition("=") for word in value.split())
        return {name if equals else "mode": text if equals else name for name, equals, text in pairs}


Rooms = Annotated[dict[str, RoomRecordingSettings], NoDecode, BeforeValidator(table)]


class RecordingSettings(SettingsPart):
    """The producers to record, the directory, and how long to keep recordings."""

    dir: Path = Field(Path("recordings"), description="directory of all recordings")
    mode: RecordingMode = Field(
        RecordingMode.ON_DEMAND, description="when to record: always; on_demand and event wait for ON on recordings/set"
    )
    segment: Seconds = Field(_default("10m"), ge=1, description="length of a file; it ends at the next key frame")
    preroll: Seconds = Field(
        _default("0s"), ge=0, le=300, description="in mode event: how long before ON a recording begins"
    )
    sync: Seconds = Field(_default("5s"), ge=0, description="maximum length that a power failure may cost")
    keep: Annotated[Seconds, Field(gt=0)] | None = Field(None, description="age at which a file is deleted, e.g. 30d")
    keep_bytes: Annotated[ByteSize, Field(gt=0)] | None = Field(
        None, description="maximum size of all files, e.g. 500GB"
    )
    keep_free: ByteSize = Field(
        _default("1GB"), ge=0, description="disk space to leave free; on a small disk a tenth of it at most"
    )
    max_clip: Seconds = Field(_default("24h"), gt=0, description="maximum length of one clip over HTTP")
    scratch: OptionalPath = Field(
        None, description="directory for clips while they are made and read; empty: the disk of the recordings"
    )
    on_full: OnFull = Field(OnFull.FREE, description="on a full disk: delete the oldest files, or pause recording")
    rooms: Rooms = Field(
        {},
        description="other values for rooms and their sub-rooms: site/gate=always keep=90d,lobby=off (in TOML a table)",
    )
    progressive: bool = Field(
        False, description="convert finished files to plain MP4 for old players; HLS and the timeline then lack them"
    )


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__", validate_default=True
    )

    broker: Text = Field(
        EMBEDDED, description="mqtt://, mqtts://, ws:// or wss:// URL with login; @FILE to read it from; or embedded"
    )
    base: str = Field("sfu", description="first level or levels of all topics")
    http: str = Field("127.0.0.1:8080", description="host:port of the page and the API; empty: neither")
    embedded_port: int = Field(1883, ge=0, le=65535, description="TCP port of the embedded broker, on loopback")
    state: OptionalPath = Field(
        None,
        description="directory of the key, users and logins; empty: $STATE_DIRECTORY or ~/.local/state/mqtt-sfu",
    )
    same_peer: Literal["replace", "reject"] = Field(
        "replace", description="a second session with the same peer id: replaces the first, or is refused"
    )
    legacy_topics: Annotated[dict[str, str], NoDecode, BeforeValidator(table)] = Field(
        {}, description='flat topics of apps that cannot change theirs: { "webrtcphone" = "lobby/join/phone" }'
    )
    frame_ancestors: Words = Field(("'self'",), description="sites that may frame /embed (Content-Security-Policy)")
    origins: Words = Field((), description="other web origins whose pages may come in at /mqtt")
    hosts: Words = Field(
        (), description="names at which browsers reach the page, e.g. through a proxy; this machine's own are known"
    )
    http_connections: int = Field(
        256, ge=1, description="maximum number of HTTP connections, without the WebSockets of pages"
    )
    http_per_address: int = Field(
        32, ge=0, description="maximum number of HTTP connections with one address; 0: no limit; none for loopback"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe messages logged to stderr"
    )
    access: AccessSettings = Field(default_factory=lambda: AccessSettings.model_validate({}), description="")
    tls: TlsSettings = Field(default_factory=lambda: TlsSettings.model_validate({}), description="")
    media: MediaSettings = Field(default_factory=lambda: MediaSettings.model_validate({}), description="")
    limits: LimitSettings = Field(default_factory=lambda: LimitSettings.model_validate({}), description="")
    recording: RecordingSettings = Field(default_factory=lambda: RecordingSettings.model_validate({}), description="")


def load(
    *, command_line: Mapping[str, Any] | None = None, config: Path | None = None, secrets: Path = SECRETS
) -> Settings:
    """Returns the settings of all sources. Keys on the command line have dots (`media.port`). Raises SettingsError."""

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the library's signature
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = [init_settings, env_settings]
            if secrets.is_dir():
                sources.append(NestedSecretsSettingsSource(file_secret_settings, secrets_dir=secrets))
            if config is not None:
                sources.append(TomlConfigSettingsSource(settings_cls, config))
            return tuple(sources)

    try:
        _refuse_unknown_variables()
        if config is not None:
            config.read_bytes()  # the library treats a missing file as an empty one
        return Sourced(**_nest(command_line or {}))
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: {error}") from error
    except (ValueError, SourceError) as error:
        raise SettingsError(_explain(error)) from error


def state_directory(chosen: Path | None = None) -> Path:
    """Returns the directory of the server's state: the setting, else that of systemd, else one of this user."""
    if chosen := chosen or _path_in("SFU_STATE") or _path_in("STATE_DIRECTORY"):
        return chosen
    try:
        home = _path_in("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:  # this user has no home
        return Path(".mqtt-sfu")
    return home / "mqtt-sfu"


def _path_in(variable: str) -> Path | None:
    text = os.environ.get(variable, "").partition(":")[0]
    return Path(text) if text else None


def variable(name: str) -> str:
    """Returns the environment variable of a setting that is named with dots."""
    return PREFIX + name.upper().replace(".", "__")


def _refuse_unknown_variables() -> None:
    """Raises SettingsError for an unknown `SFU_` variable: the library only looks up those that it knows."""
    known = {name for name, _, _ in describe()} | set(CLIENT_VARIABLES)
    parents = {name.rsplit("__", 1)[0] for name in known if "__" in name}
    for name in os.environ:
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known | parents and upper.split("__")[0] not in parents:
            raise SettingsError(f"{name}: unknown setting")


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def _explain(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    lines = []
    for item in error.errors(include_url=False, include_input=False):  # inputs may be passwords
        name = ".".join(str(part) for part in item["loc"])
        unknown = item["type"] == "extra_forbidden"
        lines.append(f"{name}: {'unknown setting' if unknown else item['msg']}")
    return "\n".join(lines)


def describe() -> Iterator[tuple[str, str, str]]:
    """Yields (environment variable, default, meaning with its unit) of every setting, in order."""
    yield from _describe(Settings, PREFIX)


def _describe(part: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in part.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, SettingsPart):
            yield from _describe(kind, f"{prefix}{name.upper()}__")
            continue
        default = "" if field.is_required() else field.get_default()
        words = tuple(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else get_args(kind)
        choices = f" ({' or '.join(words)})" if words and isinstance(words[0], str) else ""
        yield f"{prefix}{name.upper()}", _plain(default), f"{field.description}{choices}"


def _plain(default: object) -> str:
    if default is None or default == {}:
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if isinstance(default, SecretStr) else str(default)
