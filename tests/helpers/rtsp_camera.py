"""A camera that speaks RTSP and behaves as it is told: H.264 and, if wanted, sound, in one TCP connection."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from sfu.clients.packetize import h264_payloads
from sfu.clients.pattern import encoded_loop
from sfu.units import ntp_time

RATE = 20
PCMA = ("8 PCMA/8000", 8000, 1)
PCM_STEREO = ("97 L16/44100/2", 44100, 4)
"""RTP map, samples a second, bytes of a sample."""
_SOUND_S = 0.02
_REPORT_S = 0.5


@dataclass
class RtspCamera:
    """Plays one loop to each client. `sound` and `clock_shift` (seconds that its clock is wrong) may be changed."""

    port: int = 0
    sound: tuple[str, int, int] | None = PCMA
    clock_shift: float = 0.0
    mute: bool = False
    """True: takes connections and says nothing."""
    sessions: int = 0
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/stream1"

    @contextlib.asynccontextmanager
    async def on(self) -> AsyncIterator[RtspCamera]:
        """Serves while the body runs, on the same port each time."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self.hang_up()

    async def hang_up(self) -> None:
        """Ends all connections."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        playing: asyncio.Task[None] | None = None
        try:
            while True:
                if (await reader.readexactly(1)) == b"$":
                    await reader.readexactly(int.from_bytes((await reader.readexactly(3))[1:], "big"))
                    continue
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                if self.mute:
                    continue
                method = lines[0].split()[0]
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
                writer.write(self._answer(method, headers).encode())
                if method.endswith("LAY") and playing is None:
                    self.sessions += 1
                    playing = asyncio.create_task(self._play(writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            if playing is not None:
                playing.cancel()
            writer.transport.abort()
            self._connections.discard(task)

    def _answer(self, method: str, headers: dict[str, str]) -> str:
        body = self._sdp() if method.endswith("ESCRIBE") else ""
        more = {
            "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Base: {self.url}/\r\n",
            "SETUP": f"Transport: {headers.get('transport')}\r\nSession: 42;timeout=60\r\n",
            "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n",
            "PLAY": "Session: 42\r\nRange: npt=0.000-\r\n",
        }
        extra = next((text for name, text in more.items() if name.endswith(method)), "")
        return f"RTSP/1.0 200 OK\r\nCSeq: {headers.get('cseq')}\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}"

    def _sdp(self) -> str:
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=cam", "t=0 0", "a=control:*", "m=video 0 RTP/AVP 96"]
        lines += ["a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1", "a=control:track1"]
        if self.sound is not None:
            payload_type = self.sound[0].split()[0]
            lines += [f"m=audio 0 RTP/AVP {payload_type}", f"a=rtpmap:{self.sound[0]}", "a=control:track2"]
        return "\r\n".join([*lines, ""])

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        pictures = [frame for frame in encoded_loop(0, 320, 180, RATE) if frame.track == 0]
        lines = {0: _Line(writer, 0, 96, 90_000)}
        if self.sound is not None:
            lines[1] = _Line(writer, 2, int(self.sound[0].split()[0]), self.sound[1])
        started, shown, heard, next_report = time.monotonic(), 0, 0, _REPORT_S
        while True:
            now = time.monotonic() - started
            while shown / RATE <= now:
                payloads = h264_payloads(pictures[shown % len(pictures)].data)
                for number, payload in enumerate(payloads):
                    lines[0].send(shown / RATE, payload, marker=number == len(payloads) - 1)
                shown += 1
            while self.sound is not None and heard * _SOUND_S <= now:
                _, rate, size = self.sound
                lines[1].send(heard * _SOUND_S, b"\x55" * (int(rate * _SOUND_S) * size), marker=False)
                heard += 1
            if now >= next_report:
                next_report = now + _REPORT_S
                for line in lines.values():
                    line.report(now, time.time() + self.clock_shift)
            await asyncio.sleep(0.005)


class _Line:
    def __init__(self, writer: asyncio.StreamWriter, channel: int, payload_type: int, rate: int) -> None:
        self._writer, self._channel, self._payload_type, self._rate = writer, channel, payload_type, rate
        self._sequence = self._octets = 0

    def send(self, seconds: float, payload: bytes, *, marker: bool) -> None:
        second, at = marker << 7 | self._payload_type, int(seconds * self._rate)
        header = struct.pack("!BBHII", 0x80, second, self._sequence & 0xFFFF, at, 0x100 + self._channel)
        self._frame(self._channel, header + payload)
        self._sequence += 1
        self._octets += len(payload)

    def report(self, seconds: float, wall: float) -> None:
        counts = (self._sequence, self._octets)
        ssrc, at = 0x100 + self._channel, int(seconds * self._rate)
        sender = struct.pack("!BBHIQIII", 0x80, 200, 6, ssrc, ntp_time(wall), at, *counts)
        self._frame(self._channel + 1, sender + struct.pack("!BBHI4s", 0x81, 202, 2, ssrc, b"\1\1c\0"))

    def _frame(self, channel: int, data: bytes) -> None:
        self._writer.write(struct.pack("!cBH", b"$", channel, len(data)) + data)
