"""The server's key: 32 random bytes in a file that only its user can read.

Owns that file, and the form in which a key is written: base64url without padding. Never signs or derives anything.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from sfu.access.tokens import KEY_BYTES
from sfu.private_files import new_private

_FILE: Final = "access.key"


def file_of(directory: Path) -> Path:
    """Returns the path of the key's file in the state directory."""
    return directory / _FILE


def new_key() -> str:
    """Returns a random key as text."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=").decode()


def read_key(text: str) -> bytes:
    """Returns the bytes of a key. Raises ValueError if they are fewer than 32."""
    text = text.strip()
    try:
        key = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    if len(key) < KEY_BYTES:
        raise ValueError(f"a key is the base64url text of {KEY_BYTES} random bytes")
    return key


def kept_key(directory: Path) -> bytes | None:
    """Returns the key of this machine's server. None if there is none, or if this user may not read it.

    Raises ValueError if the file holds no key.
    """
    try:
        text = file_of(directory).read_text("ascii")
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return None
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{file_of(directory)}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return read_key(text)
    except ValueError as error:
        raise ValueError(f"{file_of(directory)}: {error}") from None


def kept_or_new_key(directory: Path) -> bytes:
    """Returns the key in the state directory; makes one at the first start.

    Raises OSError if the directory cannot be written, and ValueError if the file holds no key.
    """
    key = kept_key(directory)
    if key is not None:
        return key
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = new_private(file_of(directory), f"{new_key()}\n")
    try:
        # A link is never made over another one: of two servers that start together, both use the first one's key.
        with contextlib.suppress(FileExistsError):
            os.link(beside, file_of(directory))
    finally:
        beside.unlink(missing_ok=True)
    return read_key(file_of(directory).read_text("ascii"))
