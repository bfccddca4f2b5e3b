"""The commands' connections to the broker: TLS files, refusals, and a server that is not there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recorder.cli import app as recorder_app
from sfu.cli import app
from sfu.clients.view import view
from sfu.signaling.broker_url import Tls
from tests.helpers.brokers import Certificates, Mosquitto
from tests.helpers.server_process import ENVIRONMENT
from tests.helpers.serving import serving
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]
COMMANDS = {
    "publish": ["publish", "yard", "pattern"],
    "view": ["view", "yard"],
    "load": ["load", "--seconds", "1"],
    "serve": ["serve", "yard"],
}


async def run(*arguments: str, **environment: str) -> tuple[int | None, str]:
    """Runs `sfu` as a process; returns its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sfu", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=ENVIRONMENT | environment,
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, printed.decode()


@pytest.mark.parametrize("said", ["options", "variables"])
async def test_a_command_connects_with_the_ca_and_the_certificate_it_is_given(mosquitto: Start, said: str) -> None:
    broker = mosquitto(tls=True)
    files = broker.certificates
    assert files is not None
    settings = {"tls__ca": files.ca, "tls__certificate": files.client, "tls__key": files.client_key}
    named = {"ca": str(files.ca), "cert": str(files.client), "key": str(files.client_key)}
    variables = {"SFU_TLS__CA": named["ca"], "SFU_TLS__CERTIFICATE": named["cert"], "SFU_TLS__KEY": named["key"]}
    options = [part for name, path in named.items() for part in (f"--{name}", path)]
    async with serving(broker.url, **settings):
        _, printed = await run(
            *("view", "yard", "--seconds", "5", "--broker", str(broker.url)),
            *(options if said == "options" else ()),
            **(variables if said == "variables" else {}),
        )
    assert printed.splitlines()[0] == "connected", printed


async def test_a_load_test_connects_with_the_ca_and_the_certificate_it_is_given(mosquitto: Start) -> None:
    broker = mosquitto(tls=True)
    files = broker.certificates
    assert files is not None
    settings = {"tls__ca": files.ca, "tls__certificate": files.client, "tls__key": files.client_key}
    named = {"--ca": str(files.ca), "--cert": str(files.client), "--key": str(files.client_key)}
    async with serving(broker.url, **settings):
        code, printed = await run(
            *("load", "--viewers", "1", "--seconds", "1", "--broker", str(broker.url)),
            *(part for option in named.items() for part in option),
        )
    assert code == 0, printed


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"--ca": "none.pem"}, "the CA certificates cannot be read from none.pem: No such file"),
        ({"--ca": "text.pem"}, "the CA certificates cannot be read from text.pem: not PEM"),
        (
            {"--cert": "text.pem", "--key": "text.pem"},
            "our certificate and key cannot be read from text.pem and text.pem",
        ),
        ({"--key": "text.pem"}, "the key text.pem has no certificate"),
    ],
)
def test_a_bad_file_is_named_before_anything_starts(
    command: str, files: dict[str, str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.pem").write_text("not a certificate\n")
    options = [part for option in files.items() for part in option]
    console = recorder_app if command == "serve" else app
    ended = CliRunner().invoke(console, [*COMMANDS[command], "--broker", "mqtts://127.0.0.1:1", *options])
    assert ended.exit_code == 2, ended.output
    assert word in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_key_of_another_certificate_is_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    mine, other = Certificates(tmp_path), Certificates(tmp_path / "other")
    with pytest.raises(OSError, match="not a key without password that fits"):
        Tls(certificate=mine.client, key=other.client_key).context()


async def test_a_server_that_is_not_there_is_reported_after_3_s(mosquitto: Start) -> None:
    broker = mosquitto()
    lines: list[str] = []
    await view("yard", seconds=4.5, base="home", broker=broker.url, stop=asyncio.Event(), report=lines.append)
    text = f"not connected: no server answers on base 'home' at {broker.url}: is `sfu serve` running with that base?"
    assert lines[0] == text
    assert lines.count(text) == 1


async def test_a_server_that_ended_is_not_there(mosquitto: Start) -> None:
    broker = mosquitto()
    lines: list[str] = []
    async with serving(broker.url):
        pass
    watching = asyncio.create_task(view("yard", broker=broker.url, stop=(stop := asyncio.Event()), report=lines.append))
    await until(lambda: lines)
    assert "no server answers on base 'sfu'" in lines[0]
    async with serving(broker.url):
        await until(lambda: "connected" in lines)
        stop.set()
        await watching


async def test_a_load_test_says_that_no_server_is_there(mosquitto: Start) -> None:
    broker = mosquitto()
    code, printed = await run(
        "load", "--publishers", "0", "--viewers", "1", "--seconds", "1", "--broker", str(broker.url)
    )
    assert code == 1
    assert printed.startswith(f"no server answers on base 'sfu' at {broker.url}")


async def test_a_command_says_which_topic_the_broker_refuses(mosquitto: Start) -> None:
    broker = mosquitto(acl="topic read #\n")
    async with serving(broker.url):
        _, printed = await run("view", "yard", "--seconds", "2", "--broker", str(broker.url))
    assert printed.count("refuses our messages on sfu/yard/view/viewer-") == 1, printed
    assert "check its access rules (ACL)" in printed
