// Texts for states and error codes. Pure.

import type { BrokerStatus } from "../net/broker.js";
import type { SignalError } from "../net/messages.js";

const ERRORS: Record<string, string> = {
  bad_request: "The server rejected this browser's request as invalid.",
  too_large: "This browser's offer is too large for the server.",
  unauthorized: "You may not do this in this room. Ask for the right, or log in as somebody else.",
  room_not_found: "This room does not exist.",
  no_answer: "The server has not answered. Trying again.",
  replaced: "Another camera uses this name now. Trying again in a minute.",
  producer_exists: "A camera with this name is already live in this room.",
  limit: "The server has reached its limit. Trying again in a moment.",
  codec: "This browser and the server have no video codec in common.",
  rate_limited: "Too many requests. Trying again in a moment.",
  timeout: "No media connection. Is the server's UDP port open?",
  shutting_down: "The server is restarting.",
  internal: "Internal server error. Trying again.",
};

/** Returns the text for an error of the server; its own message if the code is unknown. */
export function errorText(error: SignalError): string {
  return ERRORS[error.code] ?? (error.message || ERRORS.internal!);
}

const CODECS: Record<string, string> = { h264: "H.264", h265: "H.265", vp8: "VP8", vp9: "VP9", av1: "AV1" };

export function codecName(codec: string): string {
  return CODECS[codec.toLowerCase()] ?? codec;
}

/** Reason of a slot that gets key frames only, because the link carries no more. */
export const THIN_LINK = "thin_link";

/** Returns the text shown beside a video that plays; "" for none. */
export function noteText(reason: string | undefined): string {
  return reason === THIN_LINK ? "Low bandwidth: key frames only" : "";
}

/** Returns title and detail that say why a camera shows no video; null if it should show one. */
export function reasonText(reason: string | undefined, codec: string | undefined): [string, string] | null {
  if (reason === "codec") {
    return [`This browser cannot play ${codec ? codecName(codec) : "this camera's codec"}`, "Another browser may."];
  }
  // The video is shown all the same, with the text of `noteText`.
  if (reason === THIN_LINK) return null;
  if (reason === "away") return ["This camera is offline", "Its video comes back when it reconnects."];
  if (reason === "limit") return ["Shown twice already", "A page shows the same camera at most twice."];
  return reason ? ["No video", reason] : null;
}

const PROBLEMS: Record<string, [string, string]> = {
  no_key_frame: ["No key frame yet", "The camera should send one every few seconds."],
  no_parameter_sets: ["The video cannot be decoded", "The camera must repeat SPS and PPS before each key frame."],
  no_codec: ["The server does not know this codec", "The camera should send H.264, VP8, VP9, AV1 or H.265."],
};

/** Returns title and detail for a track's `problem` in a room's state. */
export function problemText(problem: string): [string, string] {
  return PROBLEMS[problem] ?? ["No video", problem];
}

/** Returns one line that names cameras which nobody can see, with the reason; "" for none. */
export function troubleText(troubles: readonly { peer: string; problem: string }[]): string {
  return troubles.map(({ peer, problem }) => `${peer}: ${problemText(problem)[0].toLowerCase()}`).join(" · ");
}

export interface ConnectionState {
  broker: BrokerStatus;
  serverOnline: boolean | null;
}

export type Health = "good" | "busy" | "bad";

/** Returns health and text of the connection to broker and server. `playing`: some video plays, and goes on playing. */
export function statusText({ broker, serverOnline }: ConnectionState, playing: boolean): [Health, string] {
  const suffix = playing ? "; video continues" : "";
  if (serverOnline === false) return ["bad", `Server offline${suffix}`];
  if (broker === "away") return ["bad", `Broker unreachable${suffix}`];
  if (broker === "connecting") return ["busy", "Connecting"];
  if (serverOnline === null) return ["busy", "Looking for the server"];
  return ["good", "Connected"];
}

/** Returns the text for an error of getUserMedia (W3C Media Capture and Streams). */
export function deviceErrorText(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "Camera access was denied. Allow it in the browser's address bar.";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "No camera was found on this device.";
  if (name === "NotReadableError") return "Another program is using the camera.";
  return "The camera could not be opened.";
}

export const INSECURE =
  "Browsers allow camera access on https pages and on localhost only. Open this page over https to publish from here.";
