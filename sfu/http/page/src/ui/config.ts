// What the server tells the page, and what the page's own address asks for.

import { validPeer, validRoom } from "../net/rooms.js";

export interface Config {
  name: string;
  version: string;
  base: string;
  /** Absolute URL of the broker's WebSocket. */
  websocket: string;
  iceServers: RTCIceServer[];
  /** Whether the server keeps recordings, and plays them. */
  recordings: boolean;
}

export async function fetchConfig(): Promise<Config> {
  const response = await fetch("config.json", { signal: AbortSignal.timeout?.(10_000) ?? null });
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
  };
}

/** The room that the address chooses: `#site/gate` on the wall, the path on `/embed/site/gate`. Null: all rooms. */
export function roomOfAddress(): string | null {
  const room = embedded()
    ? decodeURIComponent(location.pathname.slice(new URL("embed/", document.baseURI).pathname.length))
    : decodeURIComponent(place());
  return validRoom(room) ? room : null;
}

/** The part of the wall's address that names a room; recordings have theirs behind it (`archive.ts`). */
export function place(): string {
  return location.hash.slice(1).split("?")[0]!;
}

export function embedded(): boolean {
  return document.body.dataset.page === "embed";
}

export interface PublishRequest {
  room: string;
  peer: string | null;
  /** A codec's name in lower case, or null for the browser's and the server's own choice. */
  codec: string | null;
  audio: boolean;
}

/**
 * `?publish=<room>` starts this browser as a camera without a click, for kiosks and tests:
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
