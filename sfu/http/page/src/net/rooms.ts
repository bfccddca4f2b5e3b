// Rooms: paths of one to four levels; a room contains its sub-rooms. Pure.

const LEVEL = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;
const PEER = /^[A-Za-z0-9_-]{1,64}$/;
const RESERVED = new Set("bridge pub view join state availability viewers recordings snapshot event".split(" "));

export const MAX_LEVELS = 4;

export function validRoom(text: string): boolean {
  const levels = text.split("/");
  return levels.length <= MAX_LEVELS && levels.every((level) => LEVEL.test(level) && !RESERVED.has(level));
}

export function validPeer(text: string): boolean {
  return PEER.test(text);
}

/** True if a viewer of `room` sees the cameras of `other`. */
export function contains(room: string, other: string): boolean {
  return other === room || other.startsWith(`${room}/`);
}

export function topLevel(room: string): string {
  return room.split("/", 1)[0]!;
}

/** Returns every room from the top level down to `room`. */
export function ancestry(room: string): string[] {
  const levels = room.split("/");
  return levels.map((_, index) => levels.slice(0, index + 1).join("/"));
}

/** Returns the rooms one level below `parent` ("" is the top) that contain any of `rooms`, sorted. */
export function childrenOf(rooms: Iterable<string>, parent: string): string[] {
  const depth = parent === "" ? 0 : parent.split("/").length;
  const children = new Set<string>();
  for (const room of rooms) {
    const levels = room.split("/");
    if (levels.length > depth && (parent === "" || contains(parent, room))) {
      children.add(levels.slice(0, depth + 1).join("/"));
    }
  }
  return [...children].sort();
}

/** Returns the last level of a room's path. */
export function shortName(room: string): string {
  return room.slice(room.lastIndexOf("/") + 1);
}
