"""docs/access.md, followed word for word: every command there does what the page says of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sfu.access.keys import kept_key
from sfu.access.revoked import Revoked
from sfu.access.rights import Claims, Use, rights_of
from sfu.access.tokens import Keys, read
from sfu.access.users import Users
from tests.helpers.server_process import ENVIRONMENT, command
from tests.helpers.terminal import on_terminal
from tests.helpers.waiting import until

PAGE = (Path(__file__).parents[3] / "docs" / "access.md").read_text(encoding="utf-8")
LINES: list[str] = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
PASSWORD = "correct horse"


class Reader:
    """A person with a home of their own, who types what the page says."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = home / ".local" / "state" / "mqtt-sfu"
        self.left = list(LINES)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{ENVIRONMENT['PATH']}"
        self.environment = ENVIRONMENT | {"HOME": str(home), "PATH": programs}
        self.environment.pop("XDG_STATE_HOME", None)
        self.environment.pop("STATE_DIRECTORY", None)

    def line(self, start: str) -> str:
        """Returns the next line of the page, which must begin like this."""
        line = self.left.pop(0)
        assert line.startswith(start)
        return line.replace("/etc/mqtt-sfu", str(self.home))

    def types(self, start: str) -> str:
        done = subprocess.run(
            ["bash", "-c", self.line(start)],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def answers(self, start: str, *passwords: str) -> str:
        return on_terminal(self.line(start), passwords, directory=self.home, environment=self.environment)

    def claims(self, name: str) -> Claims:
        key = kept_key(self.state)
        assert key is not None
        return read(Keys(key), (self.home / name).read_text().strip(), 0.0)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


async def test_the_page_is_followed_to_its_end(reader: Reader) -> None:
    assert "https://cameras.example.org/login#once=" in reader.types("sfu link --url")
    of_users(reader)
    of_tokens(reader)
    assert "is revoked" in reader.types("sfu token --revoke @tv.token")
    revoked = Revoked(reader.state)
    assert reader.claims("tv.token").jti in revoked
    assert reader.claims("cam-1.token").jti not in revoked
    await of_another_key(reader)
    assert reader.left == []


def of_users(reader: Reader) -> None:
    shown = reader.answers("sfu user add ann", PASSWORD, PASSWORD)
    assert "ann may log in: playback in frontdoor, site" in shown
    assert PASSWORD not in shown, "nothing is echoed"
    (ann,) = Users(reader.state)
    assert ann.can == rights_of(["playback"])
    assert "ann  playback in frontdoor, site" in reader.types("sfu user list")
    reader.answers("sfu user passwd ann", "another one", "another one")
    assert Users(reader.state).verify("ann", "another one")
    reader.types("sfu user remove ann")
    assert list(Users(reader.state)) == []


def of_tokens(reader: Reader) -> None:
    assert "sfu publish frontdoor SOURCE --id cam-1" in reader.types("sfu token frontdoor --role publish")
    reader.types("sfu token frontdoor site/gate")
    reader.types("sfu token '*' --role admin")
    camera, viewer, admin = (reader.claims(f"{name}.token") for name in ("cam-1", "tv", "admin"))
    assert (camera.sub, camera.room, camera.use) == ("cam-1", ("frontdoor",), Use.ACCESS)
    assert camera.until - camera.since == 365 * 86_400
    assert (viewer.sub, viewer.room) == ("ann-tv", ("frontdoor", "site/gate"))
    assert (admin.room, admin.can) == (("*",), rights_of(["admin"]))


async def of_another_key(reader: Reader) -> None:
    """The server's own words are its start; its tokens are asked about by a command with the same settings."""
    old = kept_key(reader.state)
    reader.types("mv ~/.local/state/mqtt-sfu/access.key")
    variables = {
        "SFU_ACCESS__OLD_KEY": (reader.home / "old.key").read_text().strip(),
        "HOME": str(reader.home),
        "SFU_STATE": "",  # as unset: the directory is below the reader's home
        "SFU_RECORDING__DIR": str(reader.home),
        "SFU_MEDIA__PORT": "0",
        "SFU_HTTP": "127.0.0.1:0",
        "SFU_EMBEDDED_PORT": "0",
    }
    assert reader.line("SFU_ACCESS__OLD_KEY=$(cat").endswith("old.key) sfu serve")
    async with command("serve", **variables) as server:
        await until(lambda: "serving sfu" in server.log)
        server.terminate()
        assert await server.ended() == 0
    assert kept_key(reader.state) not in (None, old)
    refused = await asked(reader, HOME=str(reader.home), SFU_STATE="")
    assert "another key: make a new one with `sfu token`" in refused
    accepted = await asked(reader, **variables)
    assert "is revoked" in accepted


async def asked(reader: Reader, **variables: str) -> str:
    """Returns what a command says of the camera's token, which is signed with the old key."""
    async with command("token", "--revoke", f"@{reader.home / 'cam-1.token'}", **variables) as revoking:
        await revoking.ended()
    return revoking.log
