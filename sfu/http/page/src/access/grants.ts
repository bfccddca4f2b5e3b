// What this page's visitor may do, as config.json says, and the names of the visitor's peers. Pure.

import { contains, topLevel } from "../net/rooms.js";

export type Right = "view" | "playback" | "publish" | "record" | "admin";

export interface Grants {
  /** False if the server asks nobody to log in: then everybody may do everything. */
  readonly on: boolean;
  readonly user: string | null;
  /** The beginning of the ids of this visitor's peers; null: any id is fine. */
  readonly peer: string | null;
  /** The rooms of all rights, with their sub-rooms; `*` stands for all rooms. */
  readonly rooms: readonly string[];
  readonly can: readonly string[];
  /** In seconds since 1970; null: no end. */
  readonly expires: number | null;
}

const EVERYWHERE = "*";
const TAB = "--";
const RANDOM_LENGTH = 12;

export function parseGrants(given: Record<string, unknown>): Grants {
  if (given.access !== "on") return { on: false, user: null, peer: null, rooms: [EVERYWHERE], can: [], expires: null };
  return {
    on: true,
    user: typeof given.user === "string" ? given.user : null,
    peer: typeof given.peer === "string" ? given.peer : null,
    rooms: strings(given.rooms),
    can: strings(given.can),
    expires: typeof given.expires === "number" ? given.expires : null,
  };
}

export function may({ on, can }: Grants, right: Right): boolean {
  return !on || can.includes(right);
}

/** True if this room, with all its sub-rooms, is one of the visitor's. */
export function knows({ rooms }: Grants, room: string): boolean {
  return rooms.some((own) => own === EVERYWHERE || contains(own, room));
}

/** Returns the id of a new viewer; `random`: a random UUID. */
export function viewerId({ peer }: Grants, random: string): string {
  return peer === null ? random : peer + TAB + random.replaceAll("-", "").slice(0, RANDOM_LENGTH);
}

/** Returns the id of the visitor's camera `name`: an admin may be anybody, others keep their own name in front. */
export function cameraId(grants: Grants, name: string): string {
  const { peer } = grants;
  if (peer === null || may(grants, "admin") || name === peer || name.startsWith(peer + TAB)) return name;
  return peer + TAB + name;
}

/**
 * Returns the rooms to open views on, for the chosen room (null: all) and the rooms with cameras: the chosen one, or else
 * the widest ones that the visitor may see.
 */
export function viewedRooms(grants: Grants, chosen: string | null, live: readonly string[]): string[] {
  if (chosen !== null && knows(grants, chosen)) return [chosen];
  const inside = live.filter((room) => chosen === null || contains(chosen, room));
  const widest = inside.flatMap((room) => widestRoom(grants, room) ?? []);
  return [...new Set(widest)].sort();
}

/** Returns the widest room of the visitor that contains `room`; null if it is not the visitor's. */
function widestRoom({ rooms }: Grants, room: string): string | null {
  if (rooms.includes(EVERYWHERE)) return topLevel(room);
  const around = rooms.filter((own) => contains(own, room));
  return around.reduce<string | null>((best, own) => (best === null || own.length < best.length ? own : best), null);
}

/** True if pages of the one visitor and of the other are the same, but for the end of the login. */
export function sameGrants(one: Grants, other: Grants): boolean {
  const key = ({ on, user, peer, rooms, can }: Grants): string => JSON.stringify([on, user, peer, rooms, can]);
  return key(one) === key(other);
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}
