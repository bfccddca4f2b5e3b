"""A command on a terminal of its own, whose questions are answered."""

from __future__ import annotations

import os
import pty
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.helpers.waiting import PATIENCE_S


def on_terminal(line: str, answers: Sequence[str], *, directory: Path, environment: Mapping[str, str]) -> str:
    """Runs a line of the shell, types an answer after each `: `, and returns all that the terminal shows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execvpe("bash", ["bash", "-c", line], environment)
    shown, waiting, deadline = b"", list(answers), time.monotonic() + PATIENCE_S
    asked = 0
    while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if waiting and shown[asked:].endswith(b": "):
            asked = len(shown)
            os.write(terminal, f"{waiting.pop(0)}\n".encode())
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert status == 0, shown.decode()
    assert not waiting, f"not asked for: {shown.decode()}"
    return shown.decode()
