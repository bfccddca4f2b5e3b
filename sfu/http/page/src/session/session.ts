// A peer's place in a room: keeps one attempt alive for as long as it is wanted, whatever happens to server and broker.

import type { Broker } from "../net/broker.js";
import type { Directory } from "../net/directory.js";
import {
  dump,
  type Envelope,
  isRecord,
  parse,
  parseError,
  parseTracks,
  type SignalError,
  type SignalType,
  type SlotStatus,
} from "../net/messages.js";
import { Attempt } from "./attempt.js";
import type { Spare } from "./spare.js";

export type Phase = "waiting" | "connecting" | "connected" | "refused" | "closed";

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;
// Errors that trying again soon does not cure.
const LASTING = new Set(["unauthorized", "room_not_found", "producer_exists", "codec", "bad_request", "too_large"]);
const LASTING_RETRY_MS = 30_000;

export interface Place {
  room: string;
  role: "view" | "pub";
  peer: string;
}

export interface Surroundings {
  broker: Broker;
  directory: Directory;
  base: string;
  iceServers: RTCIceServer[];
  spare: Spare;
}

export class Session {
  phase: Phase = "waiting";
  error: SignalError | null = null;
  attempt: Attempt | null = null;
  onPhase: () => void = () => undefined;
  onTracks: (slots: SlotStatus[]) => void = () => undefined;

  private readonly topic: string;
  private boot: string | null = null;
  private failures = 0;
  private timer = 0;
  private displaced = false;

  /** `prepare` puts the sections into each new connection, before its first offer. */
  constructor(
    private readonly around: Surroundings,
    readonly place: Place,
    private readonly prepare: (connection: RTCPeerConnection) => void,
  ) {
    this.topic = `${around.base}/${place.room}/${place.role}/${place.peer}`;
    around.broker.subscribe(this.topic, (_topic, payload) => this.receive(payload));
  }

  /** Looks at broker and server again; to be called whenever one of them changed. */
  update(): void {
    if (this.phase === "closed" || this.displaced) return;
    const { boot } = this.around.directory;
    const rebooted = this.boot !== null && boot !== null && boot !== this.boot;
    this.boot = boot ?? this.boot;
    // A little jitter: all pages hear of a restarted server in the same moment.
    if (rebooted) this.restart(Math.random() * 300);
    else if (!this.attempt && !this.timer) this.begin();
  }

  /** Offers again what the connection now holds. */
  renegotiate(): void {
    void this.attempt?.offer();
  }

  /** The way to the server seems to be dead, or may soon be: another one is sought. */
  moved(): void {
    if (this.phase === "connected" && this.around.directory.serverOnline !== false) void this.attempt?.restart();
  }

  /** To be called when the broker is back. */
  repeat(): void {
    this.attempt?.repeat();
  }

  select(mid: string, peer: string | null, room?: string, track?: string): void {
    if (!this.attempt) return;
    this.publish("select", { mid, peer, ...(room && { room }), ...(track && { track }) }, this.attempt.session);
  }

  /** False: nobody is there to hear it. */
  tellSizes(slots: unknown): boolean {
    return this.phase === "connected" && this.publish("sizes", { slots }, this.attempt!.session);
  }

  close(): void {
    if (this.phase === "closed") return;
    this.goodbye();
    clearTimeout(this.timer);
    this.attempt?.close();
    this.attempt = null;
    this.around.broker.unsubscribe(this.topic);
    this.setPhase("closed");
  }

  /** Tells the server at once; the page may be gone in the next moment. */
  goodbye(): void {
    if (this.attempt) this.publish("bye", { reason: "left" }, this.attempt.session);
  }

  private begin(): void {
    const { broker, directory, iceServers, spare } = this.around;
    if (broker.status !== "connected" || directory.serverOnline === false) {
      this.setPhase("waiting");
      return;
    }
    const events = {
      publish: (type: SignalType, data: unknown, session: string) => this.publish(type, data, session),
      onConnected: () => this.attempt === attempt && this.connected(),
      onLost: () => this.attempt === attempt && this.restart(this.delay()),
    };
    const attempt: Attempt = new Attempt(iceServers, events, this.hurried ? spare.take() : null);
    this.attempt = attempt;
    this.boot = directory.boot;
    this.prepare(attempt.connection);
    const offered = attempt.offer();
    this.setPhase("connecting");
    offered.catch((error: unknown) => {
      console.error("no offer could be made", error);
      if (this.attempt === attempt) this.restart(this.delay());
    });
  }

  /** Whether somebody waits for pictures that are there. */
  private get hurried(): boolean {
    return this.place.role === "view" && this.around.directory.cameras(this.place.room) > 0;
  }

  private connected(): void {
    this.failures = 0;
    this.error = null;
    this.setPhase("connected");
  }

  private receive(payload: Uint8Array): void {
    const message = parse(payload);
    const { attempt } = this;
    if (!message || !attempt || message.clientid === this.place.peer) return;
    if (message.session !== undefined && message.session !== attempt.session) return;
    this.handle(message, attempt);
  }

  private handle(message: Envelope, attempt: Attempt): void {
    if (message.type === "answer" && typeof message.data === "string") void attempt.answer(message.data);
    else if (message.type === "candidate") void attempt.candidate(message.data);
    else if (message.type === "tracks") this.onTracks(parseTracks(message.data));
    else if (message.type === "bye") this.dismissed(message.data);
    else if (message.type === "error") this.refused(parseError(message.data));
  }

  private dismissed(data: unknown): void {
    this.restart(this.delay());
    if (!isRecord(data) || data.reason !== "replaced") return;
    // Somebody came under our name. Coming back would take it from them, and they would take it back, for ever.
    clearTimeout(this.timer);
    this.displaced = true;
    this.error = { code: "replaced", message: "", retryAfter: null };
    this.setPhase("refused");
  }

  private refused(error: SignalError): void {
    this.error = error;
    if (this.attempt?.connectedAt && error.code !== "timeout" && error.code !== "shutting_down") {
      // The media goes on: what was refused is one request.
      this.onPhase();
      return;
    }
    const wished = error.retryAfter === null ? null : error.retryAfter * 1000;
    this.restart(wished ?? (LASTING.has(error.code) ? LASTING_RETRY_MS : this.delay()));
    this.setPhase("refused");
  }

  private restart(delay: number): void {
    clearTimeout(this.timer);
    this.attempt?.close();
    this.attempt = null;
    this.setPhase("waiting");
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this.begin();
    }, delay);
  }

  /** Full jitter: a hundred pages whose server restarts do not come back in one moment. */
  private delay(): number {
    this.failures += 1;
    return Math.random() * Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures);
  }

  private publish(type: Envelope["type"], data: unknown, session: string): boolean {
    return this.around.broker.publish(this.topic, dump({ clientid: this.place.peer, type, data, session }));
  }

  private setPhase(phase: Phase): void {
    this.phase = phase;
    this.onPhase();
  }
}
