"""A viewer in Python: watches a room and prints what it sees. `pip install aiortc aiomqtt`

Run: python viewer.py frontdoor --broker 127.0.0.1 --seconds 10
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError


async def play(track):
    """Prints a line for the first frame, and one each second."""
    frames, last = 0, 0.0
    with contextlib.suppress(MediaStreamError):
        while True:
            frame = await track.recv()
            frames += 1
            if track.kind == "video" and time.monotonic() - last >= 1:
                print(f"{frame.width}x{frame.height}, {frames} frames", flush=True)
                last = time.monotonic()


async def watch(mqtt, topic, peer, connection, token):
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
        elif said["type"] == "tracks":
            sources = [slot["source"] for slot in said["data"]["slots"] if slot["kind"] == "video"]
            print("shows", [f"{it['room']}/{it['peer']}" for it in sources if it], flush=True)
        elif said["type"] in ("error", "bye"):
            return f"{said['type']}: {said['data']}"
    return "the broker is gone"


def login(broker, port):
    """The login of the broker that `sfu serve` runs for this user; none for any other broker."""
    directory = Path(os.environ.get("SFU_STATE") or Path.home() / ".local/state/mqtt-sfu")
    kept = directory / f"broker-{port}.url"
    url = urlsplit(kept.read_text().strip() if broker == "127.0.0.1" and kept.exists() else "")
    return {"username": url.username, "password": url.password}


def name_in(token):
    """The name that a token gives: a viewer's id is that, or begins with it and `--`."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("room")
    arguments.add_argument("--broker", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=1883)
    arguments.add_argument("--base", default="sfu")
    arguments.add_argument("--seconds", type=float)
    arguments.add_argument("--token", default=os.environ.get("SFU_TOKEN"), help="of `sfu token`; better in SFU_TOKEN")
    wanted = arguments.parse_args()
    peer = f"{name_in(wanted.token) + '--' if wanted.token else 'viewer-'}{secrets.token_hex(3)}"
    topic = f"{wanted.base}/{wanted.room}/view/{peer}"
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    tasks = set()
    connection.on("track", lambda track: tasks.add(asyncio.ensure_future(play(track))))
    connection.addTransceiver("video", direction="recvonly")
    connection.addTransceiver("audio", direction="recvonly")
    account = login(wanted.broker, wanted.port)
    async with aiomqtt.Client(wanted.broker, wanted.port, **account) as mqtt:
        with contextlib.suppress(TimeoutError):
            print(await asyncio.wait_for(watch(mqtt, topic, peer, connection, wanted.token), wanted.seconds))
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
