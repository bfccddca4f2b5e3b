// Finds cameras by a few letters, and says when each was recorded last. Pure.

import type { Recorded } from "../data/catalogue.js";
import { clock, dayName } from "./format.js";

/** Returns the cameras whose name and room contain every word of `text`, in any case and order. */
export function found(cameras: readonly Recorded[], text: string): Recorded[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return cameras.filter(({ room, peer }) => words.every((word) => `${room}/${peer}`.toLowerCase().includes(word)));
}

/** Returns when the last recording of a camera ended: "recording", a time of today, or a day. */
export function lastWords({ recording, end }: Recorded, room: boolean, now: number): string {
  if (recording && room) return "recording";
  const today = new Date(now).toDateString() === new Date(end).toDateString();
  return today ? `until ${clock(end, false)}` : dayName(end);
}
