"""What the broker sent us, as a value. Pure; knows no topic's meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Incoming:
    """One received publish. `retained`: a replay of something said before we came."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None

    @classmethod
    def of(cls, message: Any) -> Incoming:
        """The same, from aiomqtt's `Message`."""
        return cls(
            topic=str(message.topic),
            payload=message.payload if isinstance(message.payload, bytes) else b"",
            retained=message.retain,
            response_topic=getattr(message.properties, "ResponseTopic", None),
            correlation=getattr(message.properties, "CorrelationData", None),
        )
