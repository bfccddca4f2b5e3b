// Reads the server's HLS playlists (RFC 8216): wall time, file and byte range of each part. Pure.

export interface Bytes {
  url: string;
  offset: number;
  size: number;
}

/** A part of a segment that starts with a key frame; `start` and `end` are wall times in ms since 1970. */
export interface Part extends Bytes {
  start: number;
  end: number;
  /** The initialization section of the segment, which a decoder needs first. */
  header: Bytes;
}

/** Returns the parts in the playlist `text` from `address`; only entries with header, byte range and time. */
export function parsePlaylist(text: string, address: string): Part[] {
  const parts: Part[] = [];
  let header: Bytes | null = null;
  let range: [number, number] | null = null;
  let start = NaN;
  let duration = 0;
  for (const line of text.split(/\r?\n/)) {
    const [, tag, value] = /^#(EXT[A-Z0-9-]*):?(.*)$/.exec(line) ?? [];
    if (tag === "EXT-X-MAP") header = mapOf(value!, address);
    else if (tag === "EXT-X-PROGRAM-DATE-TIME") start = Date.parse(value!);
    else if (tag === "EXTINF") duration = parseFloat(value!) * 1_000;
    else if (tag === "EXT-X-BYTERANGE") range = rangeOf(value!);
    if (line === "" || line.startsWith("#")) continue;
    const end = start + duration;
    if (header && range && end > start) {
      parts.push({ url: new URL(line, address).href, size: range[0], offset: range[1], start, end, header });
    }
    start = end;
    range = null;
  }
  return parts;
}

/** Returns the start of the segment named `url` (`.../2026-11-23/07-00-00.000Z.mp4`); NaN for other names. */
export function segmentStart(url: string): number {
  const [, day, hour, minute, rest] = /(\d{4}-\d{2}-\d{2})\/(\d{2})-(\d{2})-(\d{2}\.\d{3}Z)\.\w+$/.exec(url) ?? [];
  return Date.parse(`${day}T${hour}:${minute}:${rest}`);
}

function mapOf(attributes: string, address: string): Bytes | null {
  const [, uri] = /URI="([^"]*)"/.exec(attributes) ?? [];
  const range = rangeOf(/BYTERANGE="([^"]*)"/.exec(attributes)?.[1] ?? "");
  return uri !== undefined && range ? { url: new URL(uri, address).href, size: range[0], offset: range[1] } : null;
}

function rangeOf(text: string): [number, number] | null {
  const [, size, offset] = /^(\d+)@(\d+)$/.exec(text) ?? [];
  return size && offset ? [Number(size), Number(offset)] : null;
}
