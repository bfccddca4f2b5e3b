"""The access rules that docs/deployment.md tells people to write."""

from __future__ import annotations

import re
from pathlib import Path

ACCOUNTS = ("sfu", "frontdoor-cam", "ann")
_PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"


def access_rules() -> str:
    """Returns the text of an `acl_file` for `ACCOUNTS`."""
    rules = re.search(r"```\n(user sfu\n.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert rules is not None
    return rules[1]
