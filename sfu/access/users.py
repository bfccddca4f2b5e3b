"""The users of the page: a file with the name, the password's hash and the roles of each.

Owns that file and the hashing (scrypt, RFC 7914). Never limits attempts: the login does.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sfu.access.rights import EVERYWHERE, OWNER, Right, rights_of, valid_name
from sfu.private_files import write_private
from sfu.signaling.topics import valid_room

_FILE: Final = "users.json"
COST: Final = {"n": 1 << 16, "r": 8, "p": 1, "maxmem": 128 << 20}
"""64 MiB and 0.2 s for one attempt."""
_SALT_BYTES: Final = 16
MIN_PASSWORD: Final = 8
_MAX_ROOMS: Final = 32
_MAX_ROOMS_TEXT: Final = 400
"""Length of all rooms of a user together: they stand in the token of each session."""


class UsersError(Exception):
    """A change of the users that cannot be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class User:
    """One user. `rooms` and `roles` belong together: each role holds in each room."""

    name: str
    salt: bytes
    hash: bytes
    roles: tuple[str, ...]
    rooms: tuple[str, ...]

    @property
    def can(self) -> frozenset[Right]:
        """Returns the rights of the roles."""
        return rights_of(self.roles)

    @property
    def stamp(self) -> str:
        """Returns a text that changes with the password, the roles and the rooms, and tells nothing of them."""
        parts = (self.salt, self.hash, ",".join(self.roles).encode(), ",".join(self.rooms).encode())
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


class Users:
    """All users of one server, as they stand in its state directory."""

    def __init__(self, directory: Path) -> None:
        """Raises UsersError if the file is there and cannot be read."""
        self._path = directory / _FILE
        self._seen: tuple[int, int] | None = None
        self._users: dict[str, User] = {}
        self._decoy = _new_user("nobody", secrets.token_urlsafe(), (), ())
        self._load()

    def __iter__(self) -> Iterator[User]:
        return iter(self._users.values())

    def stamp(self, name: str) -> str | None:
        """Returns the stamp of a user; None for an unknown one."""
        user = self._users.get(name)
        return None if user is None else user.stamp

    def refresh(self) -> None:
        """Reads the file again if it has changed. Keeps what it knows while the file cannot be read."""
        try:
            self._load()
        except UsersError:
            return

    def verify(self, name: str, password: str) -> User | None:
        """Returns the user of this name and password; None if there is none. Takes as long for unknown names.

        Takes 0.2 s and 64 MiB without the interpreter's lock: call it in a thread.
        """
        user = self._users.get(name, self._decoy)
        given = _hash(password, user.salt)
        return user if hmac.compare_digest(given, user.hash) and user is not self._decoy else None

    def add(self, name: str, password: str, roles: tuple[str, ...], rooms: tuple[str, ...]) -> None:
        """Adds a user. Raises UsersError."""
        user = _checked(name, password, roles, rooms)
        with self._changing() as users:
            self._users = users
            self.require_new(name)
            users[name] = user

    def require_new(self, name: str) -> None:
        """Raises UsersError if this name is taken, or can be nobody's."""
        if name in self._users:
            raise UsersError(f"there is a user {name}: `sfu user passwd {name}` changes the password")
        if not valid_name(name) or name == OWNER:
            raise UsersError(f"{name!r} can be no name: use up to 48 letters, digits, _ and -, without --, not {OWNER}")

    def change_password(self, name: str, password: str) -> None:
        """Changes a user's password, which ends the user's sessions. Raises UsersError."""
        with self._changing() as users:
            _require(users, name)
            fresh = _checked(name, password, users[name].roles, users[name].rooms)
            users[name] = replace(users[name], salt=fresh.salt, hash=fresh.hash)

    def remove(self, name: str) -> None:
        """Removes a user, which ends the user's sessions. Raises UsersError."""
        with self._changing() as users:
            _require(users, name)
            del users[name]

    def _load(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._users, self._seen = {}, None
            return
        except OSError as error:
            raise UsersError(f"{self._path}: {error.strerror or error}") from error
        seen = (found.st_mtime_ns, found.st_ino)
        if seen != self._seen:
            self._users, self._seen = _read(self._path), seen

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        """Yields the users to change, and writes them unless that raised. Two commands at once take turns."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(self._path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                users = _read(self._path) if self._path.exists() else {}
                yield users
                _write(self._path, users)
                self._users = users
        except OSError as error:
            raise UsersError(f"{self._path}: {error.strerror or error}") from error


def _require(users: Mapping[str, User], name: str) -> None:
    if name not in users:
        raise UsersError(f"there is no user {name}: `sfu user list` shows all")


def _checked(name: str, password: str, roles: tuple[str, ...], rooms: tuple[str, ...]) -> User:
    if len(password) < MIN_PASSWORD:
        raise UsersError(f"a password has at least {MIN_PASSWORD} characters")
    for room in rooms:
        if room != EVERYWHERE and not valid_room(room):
            raise UsersError(f"{room!r} is no room")
    if len(rooms) > _MAX_ROOMS or sum(len(room) + 3 for room in rooms) > _MAX_ROOMS_TEXT:
        raise UsersError(f"{name} has too many rooms: name a room above them, which contains them, or *")
    try:
        rights_of(roles)
    except ValueError as error:
        raise UsersError(str(error)) from None
    return _new_user(name, password, roles, rooms)


def _new_user(name: str, password: str, roles: tuple[str, ...], rooms: tuple[str, ...]) -> User:
    salt = secrets.token_bytes(_SALT_BYTES)
    return User(name, salt, _hash(password, salt), roles, rooms)


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, **COST)


def _read(path: Path) -> dict[str, User]:
    try:
        fields = json.loads(path.read_text("utf-8"))
        return {name: _user(name, values) for name, values in fields["users"].items()}
    except OSError as error:
        raise UsersError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsersError(f"{path} is damaged: restore it, or remove it and add the users again") from error


def _user(name: str, values: Mapping[str, Any]) -> User:
    """Reads one user. Raises ValueError, KeyError or TypeError: what stands here goes into tokens."""
    salt, hashed = (base64.b64decode(values[word], validate=True) for word in ("salt", "scrypt"))
    roles, rooms = values["roles"], values["rooms"]
    if not (isinstance(roles, list) and isinstance(rooms, list) and valid_name(name)):
        raise ValueError(name)
    if not all(room == EVERYWHERE or valid_room(room) for room in rooms):
        raise ValueError(name)
    rights_of(roles)
    return User(name, salt, hashed, tuple(roles), tuple(rooms))


def _write(path: Path, users: Mapping[str, User]) -> None:
    fields = {
        user.name: {
            "salt": base64.b64encode(user.salt).decode(),
            "scrypt": base64.b64encode(user.hash).decode(),
            "roles": list(user.roles),
            "rooms": list(user.rooms),
        }
        for user in users.values()
    }
    write_private(path, json.dumps({"v": 1, "users": fields}, indent=1))
