"""The broker's address: its URL, and the TLS files for the connection.

Owns their syntax and how they are shown, always without the password. Never opens a connection.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sfu.credentials import quoted

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """A broker's URL with our login. Its text hides the password."""

    scheme: str
    host: str
    port: int
    path: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> BrokerUrl:
        """Reads `mqtt|mqtts|ws|wss://[user[:password]@]host[:port][/path]`. Raises ValueError without the text."""
        try:
            parts = urlsplit(quoted(text))
            host, port = parts.hostname or "", parts.port
            host.encode("idna")
        except ValueError:
            raise ValueError(
                "the broker's URL has an invalid host or port; special characters of a password must be percent-encoded"
            ) from None
        if parts.scheme not in _DEFAULT_PORTS:
            raise ValueError("the broker's URL must begin with mqtt://, mqtts://, ws:// or wss://")
        websocket = parts.scheme.startswith("ws")
        if not host or parts.query or parts.fragment or (parts.path.strip("/") and not websocket):
            raise ValueError(
                "the broker's URL looks like scheme://user:password@host:port; only ws and wss take a path"
            )
        return cls(
            scheme=parts.scheme,
            host=host,
            port=_DEFAULT_PORTS[parts.scheme] if port is None else port,
            path=(parts.path if parts.path.strip("/") else "/mqtt") if websocket else "",
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    @property
    def tls(self) -> bool:
        """True if the connection is encrypted."""
        return self.scheme in ("mqtts", "wss")

    @property
    def websocket(self) -> bool:
        """True if MQTT goes through a WebSocket."""
        return self.scheme in ("ws", "wss")

    def revealed(self) -> str:
        """Returns the URL with the password, as `parse` reads it: for this user's eyes, and never for a log."""
        login = [quote(text, safe="") for text in (self.username, self.password) if text is not None]
        return self._text(":".join(login) + "@" if login else "")

    def __str__(self) -> str:
        return self._text("" if self.username is None else self.username + (":***@" if self.password else "@"))

    def _text(self, user: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the CA certificates to trust instead of the system's, and our certificate if the broker wants one."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Makes a TLS context. Raises OSError, which names the file, if one cannot be used."""
        if self.key is not None and self.certificate is None:
            raise OSError(f"the key {self.key} has no certificate: give its certificate too")
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise OSError(f"the CA certificates cannot be read from {self.ca}: {_why(error)}") from error
        if self.certificate is not None:
            files = f"{self.certificate} and {self.key}" if self.key else str(self.certificate)
            try:
                # With a password, OpenSSL does not ask on the terminal for that of an encrypted key.
                context.load_cert_chain(self.certificate, self.key, password="")
            except OSError as error:
                raise OSError(f"our certificate and key cannot be read from {files}: {_why(error)}") from error
        return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "not PEM, or not a key without password that fits the certificate"
    return error.strerror or str(error)
