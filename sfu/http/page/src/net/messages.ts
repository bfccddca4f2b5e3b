// Signalling messages (docs/protocol.md section 3): JSON to objects and back. Pure.

export type SignalType = "offer" | "answer" | "candidate" | "bye" | "error" | "tracks" | "select" | "sizes";

export interface Envelope {
  clientid: string;
  type: SignalType;
  data: unknown;
  session?: string;
}

export interface Source {
  room: string;
  peer: string;
  track: string;
  codec: string;
}

/** State of one media section of our offer. `reason`: why its source gives no video, or only key frames. */
export interface SlotStatus {
  mid: string;
  kind: "audio" | "video";
  source: Source | null;
  reason?: string;
}

export interface Size {
  width: number;
  height: number;
}

export interface SignalError {
  code: string;
  message: string;
  /** Seconds. */
  retryAfter: number | null;
}

const TYPES = new Set<string>(["offer", "answer", "candidate", "bye", "error", "tracks", "select"]);

export function parseJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(payload));
  } catch {
    return null;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Returns the message in `payload`; null if it is not a signalling message. */
export function parse(payload: Uint8Array): Envelope | null {
  const value = parseJson(payload);
  if (!isRecord(value) || value.command !== "signal") return null;
  const { clientid, type, data, session } = value;
  if (typeof clientid !== "string" || typeof type !== "string" || !TYPES.has(type)) return null;
  const envelope: Envelope = { clientid, type: type as SignalType, data };
  return typeof session === "string" ? { ...envelope, session } : envelope;
}

/** Returns the message as JSON in ASCII only: the legacy app reads Latin-1. */
export function dump(envelope: Envelope): string {
  const text = JSON.stringify({ command: "signal", v: 2, ...envelope });
  return text.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export function parseTracks(data: unknown): SlotStatus[] {
  if (!isRecord(data) || !Array.isArray(data.slots)) return [];
  return data.slots.filter(isSlot).map((slot) => ({ ...slot, source: slot.source ?? null }));
}

export function parseError(data: unknown): SignalError {
  const record = isRecord(data) ? data : {};
  return {
    code: typeof record.code === "string" ? record.code : "internal",
    message: typeof record.message === "string" ? record.message : "",
    retryAfter: typeof record.retry_after === "number" ? record.retry_after : null,
  };
}

function isSlot(value: unknown): value is SlotStatus {
  if (!isRecord(value) || typeof value.mid !== "string") return false;
  if (value.kind !== "audio" && value.kind !== "video") return false;
  const source = value.source ?? null;
  return source === null || (isRecord(source) && typeof source.peer === "string" && typeof source.room === "string");
}
