"""Programs that tests need: absent ones skip a test with their name, and fail it in CI."""

import os
import shutil

import pytest


def need(program: str) -> str:
    """Returns the program's path; skips (or, with CI=true, fails) the calling test when it is missing."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        message = f"needs the program {program}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
