"""Junk as strangers send it: offers and HTTP requests that were right once, and are changed at random."""

from __future__ import annotations

import json
import random
import re
import secrets

from tests.helpers.offers import NAMES, offer


def junk_offer(rng: random.Random) -> str:
    """Returns a message that starts as a real offer and has lines or bytes changed; sometimes it is no JSON."""
    text = offer(rng.choice(NAMES))
    lines = text.splitlines()
    for _ in range(rng.randint(1, 12)):
        at = rng.randrange(len(lines))
        change = rng.randrange(5)
        if change == 0:
            del lines[at]
        elif change == 1:
            lines.insert(at, rng.choice(lines))
        elif change == 2:
            lines[at] = lines[at][: rng.randint(0, len(lines[at]))] + rng.choice(
                ["", "\x00", "9" * 400, " ;" * 300, "é"]
            )
        elif change == 3:
            lines[at] = re.sub(r"\d+", lambda _: str(rng.choice([0, -1, 2**16, 2**32, 2**64])), lines[at])
        else:
            rng.shuffle(lines)
        if not lines:
            return ""
    message = {"command": "signal", "clientid": "junk", "v": 2, "session": secrets.token_hex(8), "type": "offer"}
    whole = json.dumps(message | {"data": {"sdp": "\r\n".join(lines), "type": "offer"}})
    return (
        whole if rng.random() < 0.8 else whole[: rng.randrange(len(whole))] + rng.choice(["", "}", "\ud7ff", "[" * 500])
    )


def junk_request(rng: random.Random) -> bytes:
    """Returns the bytes of an HTTP request that is broken, or asks for what cannot be."""
    paths = ["/", "/mqtt", "/metrics", "/api/rooms", "/api/recordings", "/api/recordings/media/..%2f", "/static/%00"]
    query = rng.choice(
        ["", "?start=9999-12-31T23:59:59-23:59", "?start=0001-01-01T00:00:00+23:59", "?width=00" + "9" * 300]
    )
    path = (
        rng.choice([*paths, "/api/recordings/thumbnail", "/api/recordings/export", "/api/rooms/yard/snapshot.jpg"])
        + query
    )
    method = rng.choice(["GET", "GET", "PUT", "DELETE", "POST", "BREW", ""])
    head = f"{method} {path}&room=yard&peer=cam-1 HTTP/{rng.choice(['1.1', '1.1', '1.0', '9.9'])}\r\n"
    head += f"Host: {rng.choice(['127.0.0.1', 'rebound.example', '', 'a' * 9000])}\r\n"
    head += rng.choice(
        ["", "Range: bytes=5-2,9-\r\n", "Content-Length: -1\r\n", "Upgrade: websocket\r\n", "X\x00: y\r\n"]
    )
    whole = (head + "Connection: close\r\n\r\n").encode() + rng.randbytes(rng.choice([0, 0, 64]))
    return whole if rng.random() < 0.8 else whole[: rng.randrange(len(whole))]
