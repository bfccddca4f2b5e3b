// The server's configuration of the page, and the room or publication that the page's address asks for.

import { type Grants, parseGrants } from "../access/grants.js";
import { tokenHeaders } from "../access/token.js";
import { validPeer, validRoom } from "../net/rooms.js";

export interface Config {
  name: string;
  version: string;
  base: string;
  /** Absolute URL of the broker's WebSocket. */
  websocket: string;
  iceServers: RTCIceServer[];
  /** True if the server keeps recordings. */
  recordings: boolean;
  grants: Grants;
}

/** The server wants to know first who asks. */
export class LoggedOut extends Error {}

/** Rejects with `LoggedOut` if nobody is logged in, with other errors if the server does not answer. */
export async function fetchConfig(): Promise<Config> {
  const signal = AbortSignal.timeout?.(10_000) ?? null;
  const response = await fetch("config.json", { headers: tokenHeaders(), cache: "no-store", signal });
  if (response.status === 401) throw new LoggedOut();
  if (!response.ok) throw new Error(`config.json: ${response.status}`);
  const given = await response.json();
  const websocket = new URL(given.websocket, document.baseURI);
  websocket.protocol = websocket.protocol.replace(/^http/, "ws");
  return {
    name: given.name,
    version: given.version,
    base: given.base,
    websocket: websocket.href,
    iceServers: given.ice_servers,
    recordings: given.recordings === true,
    grants: parseGrants(given),
  };
}

/** Returns the room of the address: `#site/gate` on the wall, the path on `/embed/site/gate`. Null: all rooms. */
export function roomOfAddress(): string | null {
  const room = embedded()
    ? decodeURIComponent(location.pathname.slice(new URL("embed/", document.baseURI).pathname.length))
    : decodeURIComponent(place());
  return validRoom(room) ? room : null;
}

/** Returns the part of the wall's address that names a room; `archive.ts` reads the part after `?`. */
export function place(): string {
  return location.hash.slice(1).split("?")[0]!;
}

export function embedded(): boolean {
  return document.body.dataset.page === "embed";
}

export interface PublishRequest {
  room: string;
  peer: string | null;
  /** A codec's name in lower case; null leaves the choice to browser and server. */
  codec: string | null;
  audio: boolean;
}

/**
 * Returns the publication that the address asks for, or null. `?publish=<room>` makes this browser a camera without a
 * click, for kiosks and tests; more fields:
 * `&id=<peer>`, `&video=vp8|vp9|h264|av1`, `&audio=0`.
 */
export function publishOfAddress(): PublishRequest | null {
  const query = new URLSearchParams(location.search);
  const room = query.get("publish") ?? "";
  if (!validRoom(room)) return null;
  const peer = query.get("id") ?? "";
  return {
    room,
    peer: validPeer(peer) ? peer : null,
    codec: query.get("video")?.toLowerCase() || null,
    audio: query.get("audio") !== "0",
  };
}
