// States and error codes in words for people. Pure.

import type { BrokerStatus } from "../net/broker.js";
import type { SignalError } from "../net/messages.js";

const ERRORS: Record<string, string> = {
  bad_request: "The server did not understand this browser.",
  too_large: "This browser's offer is too large for the server.",
  unauthorized: "You may not do this here.",
  room_not_found: "This room does not exist.",
  replaced: "Another camera took this name. This one is off air.",
  producer_exists: "A camera of this name is already on air in this room.",
  limit: "The server is full. Trying again in a moment.",
  codec: "This browser and the server share no video codec.",
  rate_limited: "Too many requests. Trying again in a moment.",
  timeout: "The media connection did not come about. Is the server's UDP port open?",
  shutting_down: "The server is restarting.",
  internal: "The server had a fault. Trying again.",
};

export function errorText(error: SignalError): string {
  return ERRORS[error.code] ?? (error.message || ERRORS.internal!);
}

const CODECS: Record<string, string> = { h264: "H.264", h265: "H.265", vp8: "VP8", vp9: "VP9", av1: "AV1" };

export function codecName(codec: string): string {
  return CODECS[codec.toLowerCase()] ?? codec;
}

/** The server sends key frames alone to this window, as the way to it carries no more. */
export const THIN_LINK = "thin_link";

/** What is to be said beside a picture that is shown all the same. */
export function noteText(reason: string | undefined): string {
  return reason === THIN_LINK ? "Slide show: the link is thin" : "";
}

/** Why a window with a camera in it shows no picture, or null when it should show one. */
export function reasonText(reason: string | undefined, codec: string | undefined): [string, string] | null {
  if (reason === "codec") {
    return [`This browser cannot play ${codec ? codecName(codec) : "this camera's codec"}`, "Another browser may."];
  }
  // Not a reason to show nothing: `noteText` has a word on it.
  if (reason === THIN_LINK) return null;
  if (reason === "away") return ["This camera is away", "Its picture comes back when it does."];
  return reason ? ["No picture", reason] : null;
}

export interface Link {
  broker: BrokerStatus;
  serverOnline: boolean | null;
}

export type Health = "good" | "busy" | "bad";

/** How things stand between us and the cameras; pictures that play go on through all of it. */
export function statusText({ broker, serverOnline }: Link, playing: boolean): [Health, string] {
  const suffix = playing ? "; pictures go on" : "";
  if (broker === "refused") return ["bad", "The broker wants a login"];
  // Our way to the broker may lead through the server: one that has said goodbye takes it along.
  if (serverOnline === false) return ["bad", `Server away${suffix}`];
  if (broker === "away") return ["bad", `Broker away${suffix}`];
  if (broker === "connecting") return ["busy", "Connecting"];
  if (serverOnline === null) return ["busy", "Looking for the server"];
  return ["good", "Connected"];
}

export function deviceErrorText(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "The browser did not allow the camera. Its address bar can change that.";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "No camera was found on this device.";
  if (name === "NotReadableError") return "Another program is using the camera.";
  return "The camera could not be opened.";
}

export const INSECURE =
  "Browsers hand out the camera to https pages and to localhost only. Open this page over https to publish from here.";
