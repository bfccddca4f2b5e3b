"""Real brokers for tests: mosquitto on free ports, its certificates, and a proxy that can refuse or cut."""

import asyncio
import contextlib
import datetime
import getpass
import ipaddress
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sfu.signaling.broker_url import BrokerUrl, Tls
from tests.helpers.waiting import PATIENCE_S


class Mosquitto:
    """One mosquitto process without persistence; what it retained is gone after `kill()` and `restart()`."""

    def __init__(
        self,
        program: str,
        directory: Path,
        *,
        websocket: bool = False,
        tls: bool = False,
        passwords: Mapping[str, str] | None = None,
        acl: str | None = None,
        max_packet_size: int | None = None,
        nagle: bool = False,
    ) -> None:
        self._program = program
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.websocket_port = free_port() if websocket else None
        self.log = directory / "mosquitto.log"
        self.certificates = Certificates(directory) if tls else None
        # Started by root, mosquitto would become another user, who cannot read a test's files.
        lines = [f"user {getpass.getuser()}", f"listener {self.port} 127.0.0.1", *self._tls_lines()]
        if self.websocket_port is not None:
            lines += [f"listener {self.websocket_port} 127.0.0.1", "protocol websockets"]
        lines += [f"allow_anonymous {'false' if passwords else 'true'}", f"set_tcp_nodelay {str(not nagle).lower()}"]
        if passwords:
            lines.append(f"password_file {directory / 'passwords'}")
            self.set_passwords(passwords)
        if acl is not None:
            (directory / "acl").write_text(acl)
            lines.append(f"acl_file {directory / 'acl'}")
        if max_packet_size is not None:
            lines.append(f"max_packet_size {max_packet_size}")
        (directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self.restart()

    @property
    def url(self) -> BrokerUrl:
        """The TCP listener, with TLS where asked for."""
        return BrokerUrl("mqtts" if self.certificates else "mqtt", "127.0.0.1", self.port)

    @property
    def websocket_url(self) -> BrokerUrl:
        """The WebSocket listener."""
        assert self.websocket_port is not None, "start it with websocket=True"
        return BrokerUrl("ws", "127.0.0.1", self.websocket_port, "/mqtt")

    def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Takes effect with the next `restart()`."""
        path = self._directory / "passwords"
        path.write_text("".join(f"{user}:{password}\n" for user, password in passwords.items()))
        subprocess.run(["mosquitto_passwd", "-U", path], check=True)

    def kill(self) -> None:
        """Sends SIGKILL: connections break without a message, nothing is saved."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Sends SIGSTOP: connections stay, nothing is answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Sends SIGCONT: it goes on where it stood."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Sends SIGTERM and waits for the end. Idempotent."""
        if self._process is not None:
            self._process.terminate()
            self.thaw()
            self._process.wait(PATIENCE_S)
            self._process = None

    def restart(self) -> None:
        """Stops it if it runs, and starts it on the same ports."""
        self.stop()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", self._directory / "mosquitto.conf"], stdout=log, stderr=log
            )
        for port in (self.port, self.websocket_port):
            if port is not None:
                self._wait_for(port)

    def _tls_lines(self) -> list[str]:
        if self.certificates is None:
            return []
        files = self.certificates
        return [
            f"cafile {files.ca}",
            f"certfile {files.server}",
            f"keyfile {files.server_key}",
            "require_certificate true",
        ]

    def _wait_for(self, port: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.01)
            else:
                return


class Certificates:
    """A certificate authority, and a server's and a client's certificate of it, as PEM files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        self._ca_name = _name("mqtt-sfu test authority")
        self.ca = self._write("ca", self._ca_name, self._ca_key, authority=True)
        self.server, self.server_key = self._issue("server")
        self.client, self.client_key = self._issue("client")

    @property
    def tls(self) -> Tls:
        """Returns the TLS settings of a client with a certificate."""
        return Tls(ca=self.ca, certificate=self.client, key=self.client_key)

    def _issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        path = self._directory / f"{name}.key"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return self._write(name, _name(name), key, authority=False), path

    def _write(self, name: str, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> Path:
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address, x509.DNSName("localhost")]), critical=False)
            .sign(self._ca_key, hashes.SHA256())
        )
        path = self._directory / f"{name}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


class Proxy:
    """A TCP proxy before a broker: `async with Proxy(url, ...) as proxy`, then `proxy.url`.

    `refuse_v5` answers MQTT 5 as a broker of 2014 does: "connack" with return code 1, "hang up" with silence.
    """

    def __init__(self, target: BrokerUrl, *, refuse_v5: str | None = None) -> None:
        self._target = target
        self._refuse_v5 = refuse_v5
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.levels: list[int] = []  # protocol levels of all CONNECTs seen

    @property
    def url(self) -> BrokerUrl:
        """Where the proxy listens."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return replace(self._target, scheme="mqtt", host="127.0.0.1", port=port, path="")

    def cut(self) -> None:
        """Breaks every connection, as a pulled cable and a reboot do."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect = await reader.read(4096)
        name = connect.find(b"MQTT")
        if name > 0:
            self.levels.append(connect[name + 4])
        if self._refuse_v5 and connect[name + 4] == 5:
            writer.write(bytes((0x20, 2, 0, 1)) if self._refuse_v5 == "connack" else b"")
            writer.close()
            return
        with contextlib.suppress(OSError):
            to_broker, broker_writer = await asyncio.open_connection(self._target.host, self._target.port)
            broker_writer.write(connect)
            self._writers |= {writer, broker_writer}
            await asyncio.gather(_pipe(reader, broker_writer), _pipe(to_broker, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def free_port() -> int:
    """Returns a TCP port of 127.0.0.1 that nobody uses now.

    Below those that the system gives to connections: one of these could be gone when the port is bound, again or first.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
