"""What a process logs has no passwords, whoever wrote it."""

from __future__ import annotations

import subprocess
import sys

FAULTY = """
import asyncio, logging, threading
from sfu.runner import run_until_signal

async def work(stop):
    logging.getLogger("libx").debug("opening %s", "rtsp://admin:s3cret@cam/x")
    try:
        raise OSError("mqtt://me:s3%20cret@broker went away")
    except OSError:
        logging.getLogger("liby").exception("in a library")
    def fail():
        raise ValueError("http://cam:s3cret@host/")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    raise RuntimeError("rtsp://admin:s3@cret@cam/x")

run_until_signal(work, "debug")
"""


def test_no_password_of_a_url_is_logged_at_any_level_nor_in_any_traceback() -> None:
    ended = subprocess.run([sys.executable, "-c", FAULTY], capture_output=True, text=True, timeout=60, check=False)
    shown = [line for line in ended.stderr.splitlines() if "***@" in line]
    assert ended.returncode == 1
    assert len(shown) >= 4
    assert "cret@" not in "\n".join(line for line in ended.stderr.splitlines() if "raise" not in line)
