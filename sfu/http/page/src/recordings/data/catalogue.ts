// The server's recordings API over HTTP: cameras, segments, parts, thumbnails, clips, protection. Never plays.

import { type Part, parsePlaylist } from "./playlist.js";
import type { Segment, Span } from "./spans.js";

export interface Camera {
  room: string;
  peer: string;
}

export interface Recorded extends Camera, Span {
  recording: boolean;
  /** UTC days with recordings, for example `2026-11-23`. */
  days: string[];
}

/** The server answered with an error; `message` is its text. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const ROOT = "api/recordings";

/** Returns all cameras with recordings. Throws Refused with status 404 if this server keeps no recordings. */
export async function cameras(): Promise<Recorded[]> {
  const { recordings } = await (await request(ROOT)).json();
  return recordings.map((it: Recorded & { start: unknown }) => ({ ...it, ...span(it) }));
}

export async function segments(camera: Camera, within: Span): Promise<Segment[]> {
  const found = await (await request(`${ROOT}?${query(camera, within)}`)).json();
  return found.segments.map((it: Segment & { start: unknown }) => ({ ...it, ...span(it) }));
}

export async function parts({ room, peer }: Camera, { start, end }: Span, signal: AbortSignal): Promise<Part[]> {
  const span = new URLSearchParams({ start: iso(start), end: iso(end), webm: "1" });
  const response = await request(`${ROOT}/hls/${room}/${encodeURIComponent(peer)}.m3u8?${span}`, { signal });
  return parsePlaylist(await response.text(), response.url);
}

export async function bytes(
  url: string,
  offset: number,
  size: number,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const response = await request(url, { signal, headers: { Range: `bytes=${offset}-${offset + size - 1}` } });
  return new Uint8Array(await response.arrayBuffer());
}

export function thumbnailUrl(camera: Camera, at: number, width: number): string {
  return `${ROOT}/thumbnail?${new URLSearchParams({ ...names(camera), at: iso(at), width: String(width) })}`;
}

export function exportUrl(camera: Camera, within: Span): string {
  return `${ROOT}/export?${query(camera, within)}`;
}

/** Throws `Refused` if a clip of this span cannot be made now: a download would fail without a reason. */
export async function checkExport(camera: Camera, within: Span): Promise<void> {
  await request(`${exportUrl(camera, within)}&check=1`);
}

export async function setProtected(segment: Segment, on: boolean): Promise<void> {
  await request(segment.url.replace(`${ROOT}/media/`, `${ROOT}/protected/`), { method: on ? "PUT" : "DELETE" });
}

export function iso(time: number): string {
  return new Date(time).toISOString();
}

async function request(url: string, options: RequestInit = {}): Promise<Response> {
  const response = await fetch(url, options);
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Refused(response.status, String(body?.error?.message ?? response.statusText));
}

function span(given: { start: unknown; end: unknown }): Span {
  return { start: Date.parse(String(given.start)), end: Date.parse(String(given.end)) };
}

function query(camera: Camera, { start, end }: Span): string {
  return new URLSearchParams({ ...names(camera), start: iso(start), end: iso(end) }).toString();
}

function names({ room, peer }: Camera): Record<string, string> {
  return { room, peer };
}
