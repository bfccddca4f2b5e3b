"""The link that a start prints: once, for its reader alone, and never in the log."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sfu.access.keys import kept_key
from sfu.access.rights import Use
from sfu.access.tokens import Keys, read
from tests.helpers.server_process import command
from tests.helpers.waiting import until

LINK = re.compile(r"http://127\.0\.0\.1:\d+/login#once=([\w.-]+)")
SERVE = (
    *("serve", "--http", "127.0.0.1:0", "--set", "embedded_port=0", "--set", "media.port=0"),
    *("--set", "media.bind=127.0.0.1", "--set", "media.announce=127.0.0.1", "--set", "log_level=debug"),
)


async def test_a_start_prints_a_link_and_keeps_it_for_its_user(tmp_path: Path) -> None:
    state, audit = tmp_path / "state", tmp_path / "audit.log"
    variables = {"SFU_STATE": str(state), "SFU_ACCESS__AUDIT": str(audit), "SFU_RECORDING__DIR": str(tmp_path)}
    async with command(*SERVE, **variables) as server:
        await until(lambda: "serving sfu" in server.log)
        (printed,) = [line for line in server.log.splitlines() if "once=" in line]
        assert printed.startswith("open http://127.0.0.1:")
        assert "works once, within 15 minutes; `sfu link` makes another" in printed
        link = LINK.search(printed)
        assert link is not None
        claims = read(Keys(kept_key(state) or b""), link[1], 0.0)
        assert claims.use is Use.ONCE
        assert (state / "once").read_text() == f"{link[0]}\n"
        assert (state / "once").stat().st_mode & 0o777 == 0o600
        async with command("link", **variables) as another:
            assert await another.ended() == 0
        fresh = LINK.fullmatch(another.log.strip())
        assert fresh is not None
        assert fresh[1] != link[1]
        server.terminate()
        assert await server.ended() == 0
    assert server.log.count(link[1].rpartition(".")[2]) == 1
    minted = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(line["event"], line["sub"], line["use"]) for line in minted] == [("minted", "owner", "once")] * 2


@pytest.mark.parametrize("open_mode", [True, False])
async def test_without_access_or_page_there_is_no_link(tmp_path: Path, open_mode: bool) -> None:
    variables = {"SFU_STATE": str(tmp_path), "SFU_RECORDING__DIR": str(tmp_path)}
    variables |= {"SFU_ACCESS__MODE": "open"} if open_mode else {"SFU_HTTP": ""}
    arguments = SERVE if open_mode else tuple(word for word in SERVE if word not in ("--http", "127.0.0.1:0"))
    async with command(*arguments, **variables) as server:
        await until(lambda: "serving sfu" in server.log)
        server.terminate()
        assert await server.ended() == 0
    assert "once=" not in server.log
    assert not (tmp_path / "once").exists()
