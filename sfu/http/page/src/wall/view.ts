// A viewer of one room and its sub-rooms: windows that the server fills, switches and empties.

import { randomId } from "../net/broker.js";
import type { Size, SlotStatus } from "../net/messages.js";
import { Monitor, WindowStats } from "../playout/monitor.js";
import { Watch } from "../session/liveness.js";
import { Session, type Surroundings } from "../session/session.js";
import { KINDS } from "../session/spare.js";
import { SizeReports } from "./sizes.js";

export const MAX_WINDOWS = 16;
// To a viewer of cameras that all stand still the server says several times a second that it is there.
const PATIENCE_MS = 600;

/** One video section and one audio section of the offer, shown together: window k of the answer. */
export class WallWindow {
  stream: MediaStream | null = null;
  video: SlotStatus | null = null;
  audio: SlotStatus | null = null;
  measured = new WindowStats();
  /** When somebody began to wait for what is to be seen here, in ms of performance.now(). */
  wantedAt = 0;
  size: Size | null = null;

  private transceivers: RTCRtpTransceiver[] = [];
  private told = false;

  constructor(
    readonly view: View,
    readonly index: number,
  ) {}

  /** The section that the server's `tracks` and our `select` speak of. */
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

  /** Whether something comes here all the time: not on a thin link, nor in a codec that cannot be shown. */
  get flows(): boolean {
    return [this.video, this.audio].some((slot) => slot?.source && !slot.reason);
  }

  /** On the screen, in its pixels. */
  resize(size: Size): void {
    this.size = size;
    this.view.sizes.changed();
  }

  open(connection: RTCPeerConnection): void {
    const there = connection.getTransceivers().slice(this.index * KINDS.length);
    this.transceivers = KINDS.map(
      (kind, at) => there[at] ?? connection.addTransceiver(kind, { direction: "recvonly" }),
    );
    this.measured = new WindowStats();
    this.wantedAt = performance.now();
    this.told = false;
    this.stream = new MediaStream(this.transceivers.map((transceiver) => transceiver.receiver.track));
  }

  fill(slots: SlotStatus[]): void {
    const before = camera(this.source);
    this.video = slots.find((slot) => slot.mid === this.mid) ?? null;
    this.audio = slots.find((slot) => slot.mid === this.audioMid) ?? null;
    if (this.told && camera(this.source) !== before) this.wantedAt = performance.now();
    this.told = true;
  }
}

function camera(source: SlotStatus["source"]): string {
  return source ? `${source.room}/${source.peer}` : "";
}

export class View {
  readonly windows: WallWindow[] = [];
  readonly session: Session;
  readonly sizes: SizeReports;
  onChange: () => void = () => undefined;

  private readonly monitor: Monitor;
  private readonly watch: Watch;

  constructor(
    around: Surroundings,
    readonly room: string,
    windows: number,
  ) {
    this.addWindows(windows);
    this.session = new Session(around, { room, role: "view", peer: randomId() }, (connection) =>
      this.prepare(connection),
    );
    this.sizes = new SizeReports(this.windows, (slots) => this.session.tellSizes(slots));
    this.session.onPhase = () => this.phaseChanged();
    this.session.onTracks = (slots) => this.show(slots);
    this.monitor = new Monitor(() => this.session.attempt?.connection ?? null, this.windows);
    this.watch = new Watch(
      () => this.watched(),
      PATIENCE_MS,
      () => this.session.moved(),
    );
  }

  /** Makes room for `cameras`; windows are never taken away, for the server may fill them again. */
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

  /** The connection, if the server has something to send. */
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
    // What the windows showed stays written on them until the server says anew what they show.
    this.windows.forEach((window) => window.open(connection));
  }

  private show(slots: SlotStatus[]): void {
    this.windows.forEach((window) => window.fill(slots));
    this.sizes.changed();
    this.onChange();
  }
}
