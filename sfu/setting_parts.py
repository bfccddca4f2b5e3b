"""Groups of settings: TLS, access, media and limits, each with its names, defaults and bounds.

Owns these values for `sfu.settings`, which reads them from all sources. Knows no source.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from sfu.setting_forms import Bitrate, OptionalPath, RoomBitrateRanges, Words, table


class SettingsPart(BaseModel):
    """A frozen group of settings. An unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class TlsSettings(SettingsPart):
    """TLS files for `mqtts://` and `wss://` brokers."""

    ca: OptionalPath = Field(None, description="file with CA certificates to trust instead of the system's")
    certificate: OptionalPath = Field(None, description="client certificate file")
    key: OptionalPath = Field(None, description="private key file of the client certificate")


class AccessSettings(SettingsPart):
    """The key of all tokens, and what leaves and proxies ask for."""

    mode: Literal["on", "open"] = Field(
        "on", description="open: everybody who reaches the broker or the HTTP port may do everything"
    )
    key: SecretStr = Field(
        SecretStr(""),
        description="key that signs tokens (base64url, 32 bytes); empty: the one in the state directory",
    )
    old_key: SecretStr = Field(SecretStr(""), description="the key before it, whose tokens are still accepted")
    broker: Literal["auto", "trusted", "tokens", "sealed"] = Field(
        "auto",
        description="who may write a leaf: trusted: the broker knows; tokens: who shows a token; sealed: who seals "
        "with one; auto: trusted with the embedded broker and with a login at the broker, else sealed",
    )
    legacy: Words = Field((), description="rooms, with their sub-rooms, in which peers need no token on their leaves")
    proxy: Words = Field((), description="addresses or networks of proxies whose login headers count: 172.30.32.2/32")
    proxy_user: str = Field("Remote-User", description="header in which such a proxy names the user")
    proxy_groups: str = Field("Remote-Groups", description="header in which it lists the user's groups")
    groups: Annotated[dict[str, str], NoDecode, BeforeValidator(table)] = Field(
        {}, description="roles of a proxy's groups: family=playback,admins=admin; the group * is everybody"
    )
    audit: OptionalPath = Field(None, description="file of the audit log, one line of JSON each; empty: stderr")

    @field_validator("proxy")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ip_network(text)
        return value


class MediaSettings(SettingsPart):
    """The UDP port, and the codecs, bit rates and ICE servers to negotiate."""

    port: int = Field(7882, ge=0, le=65535, description="UDP port for all media; 0 takes a free one")
    bind: Words = Field(("0.0.0.0", "::"), description="addresses to listen on")  # noqa: S104  # cameras come from outside
    announce: Words = Field(
        (), description="addresses or names in ICE candidates; empty: those of this machine, with loopback"
    )
    codecs: Words = Field(
        ("h264", "vp8", "vp9", "av1"), description="codecs that producers are asked for, preferred first"
    )
    max_bitrate: Bitrate = Field(4_000_000, gt=0, description="bit/s that one camera is asked not to exceed")
    room_bitrates: RoomBitrateRanges = Field(
        {},
        description="the same for rooms and their sub-rooms, with an optional lower limit: site/gate=1M,hall=300k-2M",
    )
    history: ByteSize = Field(
        ByteSize(8_000_000), ge=100_000, description="maximum bytes of a producer's latest packets in memory"
    )
    stun: str = Field("", description="stun:host:port if the server is behind NAT; it is then a full ICE agent")
    turn: str = Field("", description="turn:host:port if the server is behind NAT and needs a relay")
    turn_username: str = Field("", description="user name at the TURN server")
    turn_password: SecretStr = Field(SecretStr(""), description="password at the TURN server")
    turn_secret: SecretStr = Field(
        SecretStr(""),
        description="secret of the TURN servers in ice_servers (coturn: use-auth-secret): clients get logins of 12 h",
    )
    private_candidates: bool = Field(
        True, description="as a full ICE agent: check clients' private addresses too (LAN)"
    )
    ice_servers: Words = Field(
        (),
        description="stun: and turn: URLs for clients; turn: ones go to pages alone, and need turn_secret",
    )


class LimitSettings(SettingsPart):
    """Limits of one server."""

    rooms: int = Field(1000, ge=1, description="maximum number of rooms with participants")
    viewers_per_room: int = Field(5000, ge=1, description="maximum number of viewers and members of one room")
    producers_per_room: int = Field(100, ge=1, description="maximum number of producers of one room")
    messages: int = Field(100, ge=10, description="maximum number of signalling messages per leaf in 10 s")
    camera_bitrate: Bitrate = Field(
        60_000_000, gt=0, description="bit/s for a camera that cannot be asked (no REMB); others may send 3 max_bitrate"
    )
