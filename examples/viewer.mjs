// A viewer in Node: says which rooms are live, watches one, and counts what arrives. `npm install --ignore-scripts` first.
//
//     [SFU_TOKEN=...] node viewer.mjs frontdoor [mqtt://127.0.0.1:1883] [seconds]

import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import mqtt from "mqtt";
import { RTCPeerConnection, useH264, useOPUS, useVP8 } from "werift";

// the broker that `sfu serve` runs for this user, with its login; else any on this machine
const kept = `${process.env.SFU_STATE ?? `${homedir()}/.local/state/mqtt-sfu`}/broker-1883.url`;
const own = existsSync(kept) ? readFileSync(kept, "utf8").trim() : "mqtt://127.0.0.1:1883";
const [room, broker = own, seconds = "0"] = process.argv.slice(2);
if (!room) throw new Error("usage: node viewer.mjs ROOM [BROKER [SECONDS]]");

const base = "sfu";
const token = process.env.SFU_TOKEN; // of `sfu token`; a viewer's id begins with its name
const name = token && JSON.parse(Buffer.from(token.split(".")[1], "base64url")).sub;
const peer = `${name ? `${name}--` : "node-"}${randomBytes(3).toString("hex")}`;
const session = randomBytes(8).toString("hex");
const topic = `${base}/${room}/view/${peer}`;
const counts = {};

const connection = new RTCPeerConnection({
  iceServers: [],
  codecs: { video: [useVP8(), useH264()], audio: [useOPUS()] },
});
for (const kind of ["video", "audio"]) {
  counts[kind] = { packets: 0, bytes: 0 };
  connection.addTransceiver(kind, { direction: "recvonly" }).onTrack.subscribe((track) => {
    track.onReceiveRtp.subscribe((packet) => {
      counts[kind].packets += 1;
      counts[kind].bytes += packet.payload.length;
    });
  });
}

const client = mqtt.connect(broker);
const send = (type, data) =>
  client.publish(topic, JSON.stringify({ command: "signal", clientid: peer, type, data, session, token, v: 2 }), { qos: 1 });

client.on("connect", async () => {
  client.subscribe([topic, ...["+", "+/+", "+/+/+", "+/+/+/+"].map((rooms) => `${base}/${rooms}/availability`)], { qos: 1 });
  await connection.setLocalDescription(await connection.createOffer());
  send("offer", connection.localDescription.sdp); // all candidates are in it
});

client.on("message", async (at, payload) => {
  if (at !== topic) return console.log(at.slice(base.length + 1).replace("/availability", ""), "is", String(payload));
  const said = JSON.parse(payload);
  if (said.clientid === peer || said.session !== session) return; // our own words, or those to another session
  if (said.type === "answer") await connection.setRemoteDescription({ type: "answer", sdp: said.data });
  if (said.type === "tracks") console.log("shows", said.data.slots.map(({ source }) => source && `${source.room}/${source.peer}`));
  if (said.type === "error" || said.type === "bye") end(said.type, said.data);
});

function end(...why) {
  console.log(...why);
  send("bye", { reason: "user" });
  client.end(false, () => process.exit());
}

setInterval(() => console.log(Object.entries(counts).map(([kind, it]) => `${kind}: ${it.packets} packets, ${it.bytes} bytes`).join("; ")), 1000);
if (Number(seconds)) setTimeout(() => end("done"), Number(seconds) * 1000);
