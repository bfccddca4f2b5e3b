// What is laid over the picture: why there is none, and what is being jumped over. Pure.

import { clock, durationText } from "./format.js";
import type { Player } from "../play/player.js";

export interface Words {
  /** `note` stands in a corner of the picture, `gap` in its middle, `wait` too but late; anything else covers it. */
  style: "note" | "gap" | "wait" | "";
  title: string;
  text?: string;
}

export interface Situation {
  trouble: "none" | "missing" | "away" | "loading";
  supported: boolean;
  /** Whether anything of any camera is there; and of this camera, today. */
  known: boolean;
  today: boolean;
  player: Pick<Player, "status" | "gap" | "playing">;
}

export function words({ trouble, supported, known, today, player }: Situation): Words | null {
  if (trouble === "away") return { style: known ? "note" : "", title: "The server does not answer", text: "Trying again." };
  if (trouble === "missing") return { style: "", title: "This server keeps no recordings" };
  if (trouble === "loading") return { style: "wait", title: "Loading" };
  if (!known) return { style: "", title: "No recordings yet", text: "They appear here as soon as a camera is recorded." };
  if (!supported) return { style: "", title: "This browser cannot play recordings", text: "Clips can be downloaded all the same." };
  if (!today && player.status === "idle") return { style: "", title: "Nothing was recorded on this day" };
  return playerWords(player);
}

function playerWords({ status, gap, playing }: Situation["player"]): Words | null {
  if (status === "gap" && gap) {
    const length = durationText(gap.end - gap.start);
    return { style: "gap", title: `Nothing was recorded for ${length}`, text: `Going on at ${clock(gap.end)}` };
  }
  if (status === "loading") return { style: "wait", title: "Loading" };
  if (status === "edge" && playing) return { style: "note", title: "The newest there is", text: "More as it is recorded." };
  if (status === "end") return { style: "note", title: "The recordings end here" };
  if (status === "failed") return { style: "", title: "This cannot be played here", text: "Another moment may; a clip can still be downloaded." };
  return null;
}
