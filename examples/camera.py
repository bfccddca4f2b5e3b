"""A camera in Python: publishes a moving picture, or a file, in a room. `pip install aiortc aiomqtt`

Run: python camera.py frontdoor --id cam-1 --broker 127.0.0.1 --file film.mp4
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.contrib.media import MediaPlayer


class Pattern(VideoStreamTrack):
    """A picture whose brightness moves, 30 frames a second."""

    count = 0

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(640, 360, "yuv420p")
        self.count += 1
        for number, plane in enumerate(frame.planes):
            plane.update(bytes([self.count % 256 if number == 0 else 100]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


async def publish(mqtt, topic, peer, connection, token):
    """One session, from the offer to the server's bye."""
    session = secrets.token_hex(8)
    head = {"command": "signal", "clientid": peer, "session": session, "v": 2}
    if token:
        head["token"] = token
    await connection.setLocalDescription(await connection.createOffer())  # all candidates are in it
    offer = json.dumps({**head, "type": "offer", "data": connection.localDescription.sdp})
    await mqtt.subscribe(topic, qos=1)
    await mqtt.publish(topic, offer, qos=1)
    async for message in mqtt.messages:
        said = json.loads(message.payload)
        if said.get("clientid") == peer or said.get("session") != session:
            continue  # our own words, or those to another session
        if said["type"] == "answer" and connection.signalingState == "have-local-offer":
            await connection.setRemoteDescription(RTCSessionDescription(said["data"], "answer"))
            print("live", flush=True)
        elif said["type"] in ("error", "bye"):
            return f"{said['type']}: {said['data']}"
    return "the broker is gone"


def login(broker, port):
    """The login of the broker that `sfu serve` runs for this user; none for any other broker."""
    directory = Path(os.environ.get("SFU_STATE") or Path.home() / ".local/state/mqtt-sfu")
    kept = directory / f"broker-{port}.url"
    url = urlsplit(kept.read_text().strip() if broker == "127.0.0.1" and kept.exists() else "")
    return {"username": url.username, "password": url.password}


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("room")
    arguments.add_argument("--id", default="camera-1", help="with a token: its --sub")
    arguments.add_argument("--token", default=os.environ.get("SFU_TOKEN"), help="of `sfu token`; better in SFU_TOKEN")
    arguments.add_argument("--file", help="any input that FFmpeg opens")
    arguments.add_argument("--broker", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=1883)
    arguments.add_argument("--base", default="sfu")
    arguments.add_argument("--seconds", type=float)
    wanted = arguments.parse_args()
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    player = MediaPlayer(wanted.file, loop=True) if wanted.file else None
    for track in (player.video, player.audio) if player else (Pattern(),):
        if track:
            connection.addTransceiver(track, direction="sendonly")
    topic = f"{wanted.base}/{wanted.room}/pub/{wanted.id}"
    account = login(wanted.broker, wanted.port)
    async with aiomqtt.Client(wanted.broker, wanted.port, **account) as mqtt:
        with contextlib.suppress(TimeoutError):
            print(await asyncio.wait_for(publish(mqtt, topic, wanted.id, connection, wanted.token), wanted.seconds))
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
