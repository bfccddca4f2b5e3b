// The rooms, their cameras and the state of the server, from the broker's retained topics.

import type { Broker } from "./broker.js";
import { isRecord, parseJson } from "./messages.js";
import { contains, MAX_LEVELS } from "./rooms.js";

export interface Producer {
  peer: string;
  since: string;
  /** `room`: the sub-room of the camera, if it is in one. */
  room?: string;
  tracks: { id: string; kind: string; codec: string; problem?: string }[];
}

export interface Trouble {
  room: string;
  peer: string;
  problem: string;
}

export interface RoomState {
  live: boolean;
  recording: boolean;
  viewers: number;
  producers: Producer[];
}

export class Directory {
  readonly rooms = new Map<string, RoomState>();
  /** Null until the broker has sent it; a server that was never online has no retained state. */
  serverOnline: boolean | null = null;
  /** Id of the server's present run; sessions of an earlier run are dead. */
  boot: string | null = null;

  private timer = 0;

  constructor(
    broker: Broker,
    private readonly base: string,
    private readonly onChange: () => void,
  ) {
    for (let levels = 1; levels <= MAX_LEVELS; levels += 1) {
      const filter = `${base}/${Array(levels).fill("+").join("/")}/state`;
      broker.subscribe(filter, (topic, payload) => this.readState(topic, payload));
    }
    broker.subscribe(`${base}/bridge/info`, (_topic, payload) => this.readInfo(payload));
  }

  /** Returns the rooms with cameras. */
  liveRooms(): string[] {
    return [...this.rooms].filter(([, state]) => state.producers.length > 0).map(([room]) => room);
  }

  /** Returns the number of cameras in `room` and its sub-rooms. */
  cameras(room: string): number {
    let count = 0;
    for (const [name, state] of this.rooms) {
      if (contains(room, name)) count += state.producers.length;
    }
    return count;
  }

  recording(room: string): boolean {
    return this.rooms.get(room)?.recording === true;
  }

  /** Returns the cameras in `room` and its sub-rooms (null: in all rooms) with a track that cannot be shown. */
  troubles(room: string | null): Trouble[] {
    return [...this.rooms]
      .filter(([name]) => room === null || contains(room, name))
      .flatMap(([name, { producers }]) =>
        producers.flatMap(({ peer, room: below, tracks }) => {
          const problem = tracks.find((track) => track.problem)?.problem;
          return problem && (below ?? name) === name ? [{ room: name, peer, problem }] : [];
        }),
      );
  }

  private readState(topic: string, payload: Uint8Array): void {
    const room = topic.slice(this.base.length + 1, -"/state".length);
    if (room === "bridge") {
      this.serverOnline = new TextDecoder().decode(payload) === "online";
    } else if (!room.startsWith("bridge/")) {
      const state = parseState(payload);
      if (state) this.rooms.set(room, state);
      else this.rooms.delete(room);
    }
    this.changed();
  }

  private readInfo(payload: Uint8Array): void {
    const info = parseJson(payload);
    this.boot = isRecord(info) && info.boot !== undefined ? String(info.boot) : null;
    this.changed();
  }

  /** Retained messages come in bursts: reports one change for each burst. */
  private changed(): void {
    if (this.timer) return;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this.onChange();
    }, 20);
  }
}

function parseState(payload: Uint8Array): RoomState | null {
  const value = parseJson(payload);
  if (!isRecord(value)) return null;
  const producers = Array.isArray(value.producers) ? (value.producers as Producer[]) : [];
  return {
    live: value.live === true,
    recording: value.recording === true,
    viewers: Number(value.viewers) || 0,
    producers,
  };
}
