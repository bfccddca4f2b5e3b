// A viewer of one room and its sub-rooms: a session, and windows that the server fills, switches and empties.

import { viewerId } from "../access/grants.js";
import { randomId } from "../net/broker.js";
import type { Size, SlotStatus } from "../net/messages.js";
import { Monitor, WindowStats } from "../playout/monitor.js";
import { Watch } from "../session/liveness.js";
import { Session, type Surroundings } from "../session/session.js";
import { KINDS } from "../session/spare.js";
import { SizeReports } from "./sizes.js";

export const MAX_WINDOWS = 16;
// The server sends empty reports several times a second to a viewer whose cameras are all silent.
const PATIENCE_MS = 600;

/** One video and one audio section of the offer, shown together. */
export class WallWindow {
  stream: MediaStream | null = null;
  video: SlotStatus | null = null;
  audio: SlotStatus | null = null;
  stats = new WindowStats();
  /** Time at which this window's camera was requested, in ms of performance.now(). */
  requestedAt = 0;
  size: Size | null = null;

  private transceivers: RTCRtpTransceiver[] = [];
  private filled = false;

  constructor(
    readonly view: View,
    readonly index: number,
  ) {}

  /** Returns the mid of the video section, which `tracks` and `select` messages use. */
  get mid(): string | null {
    return this.transceivers[0]?.mid ?? null;
  }

  get audioMid(): string | null {
    return this.transceivers[1]?.mid ?? null;
  }

  get receivers(): RTCRtpReceiver[] {
    return this.transceivers.map((transceiver) => transceiver.receiver);
  }

  get source(): SlotStatus["source"] {
    return this.video?.source ?? this.audio?.source ?? null;
  }

  /** True if media should arrive continuously: not with low bandwidth, nor for a codec that cannot be played. */
  get flows(): boolean {
    return [this.video, this.audio].some((slot) => slot?.source && !slot.reason);
  }

  /** Sets the size on the screen, in device pixels. */
  resize(size: Size): void {
    this.size = size;
    this.view.sizes.changed();
  }

  open(connection: RTCPeerConnection): void {
    const there = connection.getTransceivers().slice(this.index * KINDS.length);
    this.transceivers = KINDS.map(
      (kind, at) => there[at] ?? connection.addTransceiver(kind, { direction: "recvonly" }),
    );
    this.stats = new WindowStats();
    this.requestedAt = performance.now();
    this.filled = false;
    this.stream = new MediaStream(this.transceivers.map((transceiver) => transceiver.receiver.track));
  }

  fill(slots: SlotStatus[]): void {
    const before = camera(this.source);
    this.video = slots.find((slot) => slot.mid === this.mid) ?? null;
    this.audio = slots.find((slot) => slot.mid === this.audioMid) ?? null;
    if (this.filled && camera(this.source) !== before) this.requestedAt = performance.now();
    this.filled = true;
  }
}

function camera(source: SlotStatus["source"]): string {
  return source ? `${source.room}/${source.peer}` : "";
}

export class View {
  readonly windows: WallWindow[] = [];
  readonly session: Session;
  readonly sizes: SizeReports;

  private readonly monitor: Monitor;
  private readonly watch: Watch;

  constructor(
    around: Surroundings,
    readonly room: string,
    windows: number,
    private readonly onChange: () => void,
  ) {
    this.addWindows(windows);
    const listener = {
      prepare: (connection: RTCPeerConnection) => this.prepare(connection),
      phaseChanged: () => this.phaseChanged(),
      tracksChanged: (slots: SlotStatus[]) => this.show(slots),
    };
    this.session = new Session(around, { room, role: "view", peer: viewerId(around.grants, randomId()) }, listener);
    this.sizes = new SizeReports(this.windows, (slots) => this.session.sendSizes(slots));
    this.monitor = new Monitor(() => this.session.attempt?.connection ?? null, this.windows);
    this.watch = new Watch(
      () => this.watched(),
      PATIENCE_MS,
      () => this.session.restartIce(),
    );
  }

  /** Adds windows for `cameras`. Windows are never removed, since the server may fill them again. */
  grow(cameras: number): void {
    const { attempt } = this.session;
    const added = this.addWindows(cameras);
    if (!attempt || added.length === 0) return;
    added.forEach((window) => window.open(attempt.connection));
    this.session.renegotiate();
  }

  close(): void {
    this.monitor.stop();
    this.watch.stop();
    this.sizes.stop();
    this.session.close();
  }

  /** Returns the connection if media should arrive; null otherwise. */
  private watched(): RTCPeerConnection | null {
    return (this.windows.some((window) => window.flows) && this.session.attempt?.connection) || null;
  }

  private phaseChanged(): void {
    if (this.session.phase === "connected") this.sizes.forget();
    this.onChange();
  }

  private addWindows(wanted: number): WallWindow[] {
    const before = this.windows.length;
    const after = Math.min(MAX_WINDOWS, Math.max(1, wanted));
    for (let index = before; index < after; index += 1) this.windows.push(new WallWindow(this, index));
    return this.windows.slice(before);
  }

  private prepare(connection: RTCPeerConnection): void {
    // Captions stay as they are until the server sends new tracks.
    this.windows.forEach((window) => window.open(connection));
  }

  private show(slots: SlotStatus[]): void {
    this.windows.forEach((window) => window.fill(slots));
    this.sizes.changed();
    this.onChange();
  }
}
