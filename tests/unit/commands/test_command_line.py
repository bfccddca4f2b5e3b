"""The console scripts as processes: they end, whatever their threads wait for."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

_PROGRAM = """
import sys, threading, typer
from concurrent.futures import ThreadPoolExecutor
from sfu.commands.command_line import new_app, run_app
app = new_app("trial", "Waits.")
@app.command()
def wait(code: int) -> None:
    ThreadPoolExecutor(1).submit(threading.Event().wait)  # as a read from a network disk that is away
    print("done")
    raise typer.Exit(code)
@app.command()
def fail() -> None:
    raise ZeroDivisionError
run_app(app)
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_thread_that_hangs_does_not_keep_the_process(code: int) -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "wait", str(code)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (code, "done\n")
    assert time.monotonic() - begun < 20


def test_a_bug_has_its_traceback_and_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "fail"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_an_empty_token_is_no_secret() -> None:
    view = [sys.executable, "-m", "sfu", "view", "lobby", "--broker", "mqtt://127.0.0.1:1", "--seconds", "1"]
    done = subprocess.run([*view, "--token", ""], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "secret" in done.stderr) == (1, False)
