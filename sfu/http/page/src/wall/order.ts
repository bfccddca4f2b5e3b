// The order of tiles on the screen: by room, then by name, as people count. Pure.

import type { Camera } from "../recordings/data/catalogue.js";

const NAMES = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** Compares two cameras: `cam-2` comes before `cam-10`, a room before its sub-rooms, no camera after all. */
export function compareCameras(a: Camera | null, b: Camera | null): number {
  if (!a || !b) return Number(!a) - Number(!b);
  return compareRooms(a.room, b.room) || NAMES.compare(a.peer, b.peer) || (a.peer < b.peer ? -1 : 1);
}

function compareRooms(a: string, b: string): number {
  const [left, right] = [a.split("/"), b.split("/")];
  for (let level = 0; level < Math.min(left.length, right.length); level += 1) {
    const order = NAMES.compare(left[level]!, right[level]!);
    if (order !== 0) return order;
  }
  return left.length - right.length;
}
