"""Settings: one frozen value, validated once, passed down in parts; nothing below the service reads the environment.

Precedence: command line > environment (`SFU_`, nested with `__`) > `/run/secrets` > TOML file > defaults. A key that
does not exist is an error at every level: a typo must not silently mean the default.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticUndefined
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

from sfu.units import parse_bit_rate, parse_duration

PREFIX: Final = "SFU_"
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
    """One line for each setting that is wrong, with where it came from."""


def _split(value: object) -> object:
    """`a, b` and `["a", "b"]` mean the same."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]


def _table(value: object) -> object:
    """A table in the environment: JSON, or `topic=leaf,topic=leaf`."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("{"):
        return json.loads(text)
    return dict(part.split("=", 1) for part in text.split(",") if part.strip())


def _bit_rate(value: object) -> object:
    """Returns bit/s: `2.5M` and 2500000 mean the same."""
    return parse_bit_rate(value) if isinstance(value, str) else value


def _bit_rates(value: object) -> object:
    """Returns (least, most) bit/s of `300k-2M`; the least of `2M` is 0."""
    if not isinstance(value, str):
        return (0, value) if isinstance(value, int) else value
    least, dash, most = value.partition("-")
    return (parse_bit_rate(least), parse_bit_rate(most)) if dash else (0, parse_bit_rate(least))


def _in_order(rates: tuple[int, int]) -> tuple[int, int]:
    if rates[0] > rates[1]:
        raise ValueError("the least bit rate is above the most")
    return rates


def _seconds(value: object) -> object:
    """Returns seconds: `1h30m` and 5400 mean the same."""
    return parse_duration(value) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Bitrate = Annotated[int, BeforeValidator(_bit_rate)]
BitrateRange = Annotated[tuple[int, int], BeforeValidator(_bit_rates), AfterValidator(_in_order)]
RoomBitrateRanges = Annotated[dict[str, BitrateRange], NoDecode, BeforeValidator(_table)]
Seconds = Annotated[float, BeforeValidator(_seconds)]


def _said(text: str) -> Any:
    """A default as a person would write it; it is validated like any other value."""
    return text


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class TlsSettings(_Part):
    """Certificates towards the broker, for `mqtts://` and `wss://`."""

    ca: Path | None = Field(None, description="file with the CA certificates that the broker's must come from")
    certificate: Path | None = Field(None, description="client certificate file")
    key: Path | None = Field(None, description="its private key file")


class MediaSettings(_Part):
    """The one UDP port and what is negotiated on it."""

    port: int = Field(7882, ge=0, le=65535, description="UDP port for all media; 0 takes a free one")
    bind: Words = Field(("0.0.0.0", "::"), description="addresses to listen on")  # noqa: S104  # cameras come from outside
    announce: Words = Field((), description="addresses put in candidates; empty: the machine's own, loopback included")
    codecs: Words = Field(("h264", "vp8", "vp9", "av1"), description="what producers are asked to send, best first")
    max_bitrate: Bitrate = Field(4_000_000, gt=0, description="bit/s that one camera is asked to stay below")
    room_bitrates: RoomBitrateRanges = Field(
        {},
        description="the same for rooms with their sub-rooms, and what to ask for at least: site/gate=1M,hall=300k-2M",
    )
    history: ByteSize = Field(
        ByteSize(8_000_000), ge=100_000, description="most memory for a producer's latest packets"
    )
    stun: str = Field("", description="stun:host:port when the server itself is behind NAT (then a full ICE agent)")
    turn: str = Field("", description="turn:host:port for the same")
    turn_username: str = Field("", description="user at the TURN server")
    turn_password: SecretStr = Field(SecretStr(""), description="password at the TURN server")
    private_candidates: bool = Field(True, description="as a full agent: check clients' private addresses (LAN)")
    ice_servers: Words = Field((), description="stun: and turn: URLs that clients are told in bridge/info")


class LimitSettings(_Part):
    """How much of everything."""

    rooms: int = Field(1000, ge=1, description="rooms with somebody in them")
    viewers_per_room: int = Field(5000, ge=1, description="viewers and members of one room")
    producers_per_room: int = Field(100, ge=1, description="producers of one room")
    messages: int = Field(100, ge=10, description="signalling messages per leaf in 10 s")


class RoomRecordingSettings(_Part):
    """What one room, with its sub-rooms, has otherwise: `always segment=5m keep=90d keep_bytes=50GB preroll=10s`."""

    mode: RecordingMode | None = None
    segment: Annotated[Seconds, Field(ge=1)] | None = None
    preroll: Annotated[Seconds, Field(ge=0, le=300)] | None = None
    keep: Annotated[Seconds, Field(gt=0)] | None = None
    keep_bytes: Annotated[ByteSize, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """Words: the mode by itself, the others with their names."""
        if not isinstance(value, str):
            return value
        pairs = (word.partition("=") for word in value.split())
        return {name if equals else "mode": said if equals else name for name, equals, said in pairs}


Rooms = Annotated[dict[str, RoomRecordingSettings], NoDecode, BeforeValidator(_table)]


class RecordingSettings(_Part):
    """Which producers are recorded, where to, and what is kept."""

    dir: Path = Field(Path("recordings"), description="directory of all recordings")
    mode: RecordingMode = Field(
        RecordingMode.ON_DEMAND, description="when: always; on_demand and event wait for ON on recordings/set"
    )
    segment: Seconds = Field(_said("10m"), ge=1, description="length of a file, which ends with the next key frame")
    preroll: Seconds = Field(_said("0s"), ge=0, le=300, description="with mode event: what came so long before ON")
    sync: Seconds = Field(_said("5s"), ge=0, description="how much a loss of power may cost")
    keep: Annotated[Seconds, Field(gt=0)] | None = Field(None, description="age at which a file is deleted, e.g. 30d")
    keep_bytes: Annotated[ByteSize, Field(gt=0)] | None = Field(None, description="most bytes of all files, e.g. 500GB")
    keep_free: ByteSize = Field(_said("1GB"), ge=0, description="space to leave free, a tenth of a small disk at most")
    on_full: OnFull = Field(OnFull.FREE, description="on a full disk: oldest files go, or recording waits")
    rooms: Rooms = Field(
        {}, description="rooms that differ, with their sub-rooms: site/gate=always keep=90d,lobby=off (in TOML a table)"
    )
    progressive: bool = Field(
        False, description="make finished files plain MP4, as some players want: HLS and the timeline leave them out"
    )


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__", validate_default=True
    )

    broker: str = Field(EMBEDDED, description="mqtt://, mqtts://, ws:// or wss:// URL with login; or embedded")
    base: str = Field("sfu", description="topics start with it; one or more levels")
    http: str = Field("127.0.0.1:8080", description="host:port of page and API; empty: none")
    embedded_port: int = Field(1883, ge=0, le=65535, description="TCP port of the embedded broker, on loopback")
    same_peer: Literal["replace", "reject"] = Field(
        "replace", description="a second session under one peer id: newest wins, or is refused"
    )
    legacy_topics: Annotated[dict[str, str], NoDecode, BeforeValidator(_table)] = Field(
        {}, description='flat topics of apps that cannot change theirs: { "webrtcphone" = "lobby/join/phone" }'
    )
    frame_ancestors: Words = Field(("'self'",), description="sites that may frame /embed (Content-Security-Policy)")
    origins: Words = Field((), description="further web origins that may use the broker's WebSocket door")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged to stderr")
    tls: TlsSettings = Field(default_factory=lambda: TlsSettings.model_validate({}), description="")
    media: MediaSettings = Field(default_factory=lambda: MediaSettings.model_validate({}), description="")
    limits: LimitSettings = Field(default_factory=lambda: LimitSettings.model_validate({}), description="")
    recording: RecordingSettings = Field(default_factory=lambda: RecordingSettings.model_validate({}), description="")


def load(
    *, command_line: Mapping[str, Any] | None = None, config: Path | None = None, secrets: Path = SECRETS
) -> Settings:
    """The settings from all sources; keys on the command line are dotted (`media.port`). Raises SettingsError."""

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
            config.read_bytes()  # the library takes a missing file for an empty one
        return Sourced(**_nest(command_line or {}))
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: {error}") from error
    except (ValueError, SourceError) as error:
        raise SettingsError(_explain(error)) from error


def _refuse_unknown_variables() -> None:
    """The library looks up the variables it knows and never sees a misspelt one."""
    known = {name for name, _, _ in describe()}
    parents = {name.rsplit("__", 1)[0] for name in known if "__" in name}
    for name in os.environ:
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known | parents and upper.split("__")[0] not in parents:
            raise SettingsError(f"{name}: there is no such setting")


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
        lines.append(f"{name}: {'there is no such setting' if unknown else item['msg']}")
    return "\n".join(lines)


def describe() -> Iterator[tuple[str, str, str]]:
    """(environment variable, default, meaning with its unit) of every setting, in order."""
    yield from _describe(Settings, PREFIX)


def _describe(part: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in part.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, _Part):
            yield from _describe(kind, f"{prefix}{name.upper()}__")
            continue
        default = "" if field.default is PydanticUndefined else field.default
        words = tuple(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else get_args(kind)
        choices = f" ({' or '.join(words)})" if words and isinstance(words[0], str) else ""
        yield f"{prefix}{name.upper()}", _plain(default), f"{field.description}{choices}"


def _plain(default: object) -> str:
    if default is None or default == {}:
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if isinstance(default, SecretStr) else str(default)
