// The text over the video of a recording: why there is none, and which gap is skipped. Pure.

import type { Player } from "../play/player.js";
import { clock, durationText } from "./format.js";

export interface OverlayText {
  /** `note` is in a corner of the video, `gap` in its middle; `wait` shows a spinner, late; "" covers the video. */
  style: "note" | "gap" | "wait" | "";
  title: string;
  text?: string;
}

export interface Situation {
  trouble: "none" | "missing" | "away" | "loading";
  supported: boolean;
  /** True if any camera has recordings. */
  known: boolean;
  /** True if a camera is chosen. */
  chosen: boolean;
  /** True if this camera has recordings on this day. */
  today: boolean;
  player: Pick<Player, "status" | "gap" | "playing">;
}

/** Returns the text to show; null for none. */
export function overlayText({ trouble, supported, known, chosen, today, player }: Situation): OverlayText | null {
  if (trouble === "away")
    return { style: known ? "note" : "", title: "The server does not respond", text: "Trying again." };
  if (trouble === "missing") return { style: "", title: "Recording is not enabled on this server" };
  if (trouble === "loading") return { style: "wait", title: "Loading" };
  if (!known)
    return { style: "", title: "No recordings yet", text: "They appear here as soon as a camera is recorded." };
  if (!chosen) return { style: "", title: "Choose a camera", text: "The list above has all that were recorded." };
  if (!supported)
    return { style: "", title: "This browser cannot play recordings", text: "Clips can still be downloaded." };
  if (!today && player.status === "idle") return { style: "", title: "No recordings on this day" };
  return playerText(player);
}

function playerText({ status, gap, playing }: Situation["player"]): OverlayText | null {
  if (status === "gap" && gap) {
    return {
      style: "gap",
      title: `No recording for ${durationText(gap.end - gap.start)}`,
      text: `Continues at ${clock(gap.end)}`,
    };
  }
  if (status === "loading") return { style: "wait", title: "Loading" };
  if (status === "edge" && playing)
    return { style: "note", title: "End of the recording so far", text: "Continues as it is recorded." };
  if (status === "end") return { style: "note", title: "End of the recordings" };
  if (status === "failed")
    return { style: "", title: "Playback failed", text: "Try another time, or download a clip." };
  return null;
}
