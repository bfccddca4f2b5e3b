// A peer in a room: starts a new attempt whenever the one before has failed, until it is closed. Never touches media.

import type { Grants } from "../access/grants.js";
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
import { receives } from "./liveness.js";
import type { Spare } from "./spare.js";

export type Phase = "waiting" | "connecting" | "connected" | "refused" | "closed";

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 15_000;
// Errors that will not go away soon: retried at a longer interval.
const PERMANENT = new Set(["unauthorized", "room_not_found", "producer_exists", "codec", "bad_request", "too_large"]);
const PERMANENT_RETRY_MS = 30_000;
// Another peer took this id; coming back takes the id from that one.
const REPLACED_RETRY_MS = [30_000, 60_000] as const;
// All pages learn of a restarted server at the same time.
const REBOOT_SPREAD_MS = 300;

// Not of the protocol: no answer at all.
const NO_ANSWER = "no_answer";

export interface Place {
  room: string;
  role: "view" | "pub";
  peer: string;
}

export interface Surroundings {
  grants: Grants;
  broker: Broker;
  directory: Directory;
  base: string;
  iceServers: RTCIceServer[];
  spare: Spare;
  /** The server has said `unauthorized`: the login may have ended. */
  onUnauthorized(): void;
}

export interface SessionListener {
  /** Adds the transceivers to a new connection, before its first offer. */
  prepare(connection: RTCPeerConnection): void;
  phaseChanged(): void;
  tracksChanged(slots: SlotStatus[]): void;
}

export class Session {
  phase: Phase = "waiting";
  error: SignalError | null = null;
  attempt: Attempt | null = null;

  private readonly topic: string;
  private boot: string | null = null;
  private failures = 0;
  private timer = 0;
  private doubting = false;

  constructor(
    private readonly around: Surroundings,
    readonly place: Place,
    private readonly listener: SessionListener,
  ) {
    this.topic = `${around.base}/${place.room}/${place.role}/${place.peer}`;
    around.broker.subscribe(this.topic, (_topic, payload) => this.receive(payload));
  }

  /** Starts an attempt if there is none. Call it after each change of broker or server. */
  update(): void {
    if (this.phase === "closed") return;
    const { boot } = this.around.directory;
    const rebooted = this.boot !== null && boot !== null && boot !== this.boot;
    this.boot = boot ?? this.boot;
    if (rebooted && this.attempt) void this.doubt(this.attempt);
    else if (rebooted && this.error?.code !== "replaced") this.restart(Math.random() * REBOOT_SPREAD_MS);
    else if (!this.attempt && !this.timer) this.begin();
  }

  /**
   * Ends an attempt whose server has restarted and does not know it. Anybody on the broker can write a boot id: an
   * attempt to which bytes still arrive is kept, and one without an answer asks again.
   */
  private async doubt(attempt: Attempt): Promise<void> {
    if (attempt.answeredAt === null) attempt.repeat();
    if (attempt.answeredAt === null || this.doubting) return;
    this.doubting = true;
    let boot: string | null;
    let alive: boolean;
    do {
      boot = this.boot;
      alive = await receives(attempt.connection);
    } while (alive && this.attempt === attempt && this.boot !== boot);
    this.doubting = false;
    if (!alive && this.attempt === attempt) this.restart(Math.random() * REBOOT_SPREAD_MS);
  }

  /** Sends a new offer, after transceivers were added. */
  renegotiate(): void {
    void this.attempt?.offer();
  }

  /** Restarts ICE: the path to the server seems to be dead, or the network has changed. */
  restartIce(): void {
    if (this.phase === "connected" && this.around.directory.serverOnline !== false) void this.attempt?.restart();
  }

  /** Sends an unanswered offer again. Call it after the broker has reconnected. */
  repeat(): void {
    this.attempt?.repeat();
  }

  select(mid: string, peer: string | null, room?: string, track?: string): void {
    if (!this.attempt) return;
    this.publish("select", { mid, peer, ...(room && { room }), ...(track && { track }) }, this.attempt.session);
  }

  /** Sends the sizes of windows on this screen. Returns false if not connected. */
  sendSizes(slots: unknown): boolean {
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

  /** Sends bye, for a page that is about to close. */
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
      onSilent: () => this.attempt === attempt && this.silent(),
      onLost: () => this.attempt === attempt && this.restart(this.delay()),
    };
    const attempt: Attempt = new Attempt(iceServers, events, this.urgent ? spare.take() : null);
    this.attempt = attempt;
    this.boot = directory.boot;
    this.listener.prepare(attempt.connection);
    const offered = attempt.offer();
    this.setPhase(this.error?.code === NO_ANSWER ? "refused" : "connecting");
    offered.catch((error: unknown) => {
      console.error("cannot make an offer", error);
      if (this.attempt === attempt) this.restart(this.delay());
    });
  }

  /** True if there are cameras to show, so that a prepared connection saves time. */
  private get urgent(): boolean {
    return this.place.role === "view" && this.around.directory.cameras(this.place.room) > 0;
  }

  private silent(): void {
    this.error = { code: NO_ANSWER, message: "", retryAfter: null };
    this.setPhase("refused");
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
    // Anybody may write on a leaf: the server of this session is known by the session's id.
    if (message.session !== attempt.session) return;
    this.handle(message, attempt);
  }

  private handle(message: Envelope, attempt: Attempt): void {
    if (message.type === "answer" && typeof message.data === "string") void attempt.answer(message.data);
    else if (message.type === "candidate") void attempt.candidate(message.data);
    else if (message.type === "tracks") this.listener.tracksChanged(parseTracks(message.data));
    else if (message.type === "bye") this.ended(message.data);
    else if (message.type === "error") this.refused(parseError(message.data));
  }

  private ended(data: unknown): void {
    if (!isRecord(data) || data.reason !== "replaced") {
      this.restart(this.delay());
      return;
    }
    const [least, most] = REPLACED_RETRY_MS;
    this.error = { code: "replaced", message: "", retryAfter: null };
    this.restart(least + Math.random() * (most - least));
    this.setPhase("refused");
  }

  private refused(error: SignalError): void {
    this.error = error;
    if (error.code === "unauthorized") this.around.onUnauthorized();
    if (this.attempt?.connectedAt && error.code !== "timeout" && error.code !== "shutting_down") {
      // Media continues: the error is about one request.
      this.listener.phaseChanged();
      return;
    }
    const retryAfterMs = error.retryAfter === null ? null : error.retryAfter * 1000;
    this.restart(retryAfterMs ?? (PERMANENT.has(error.code) ? PERMANENT_RETRY_MS : this.delay()));
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

  /** Returns the delay before the next attempt, in ms; full jitter spreads the pages of a restarted server. */
  private delay(): number {
    this.failures += 1;
    return Math.random() * Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures);
  }

  private publish(type: Envelope["type"], data: unknown, session: string): boolean {
    return this.around.broker.publish(this.topic, dump({ clientid: this.place.peer, type, data, session }));
  }

  private setPhase(phase: Phase): void {
    this.phase = phase;
    this.listener.phaseChanged();
  }
}
