// One attempt to connect (docs/protocol.md section 3): one RTCPeerConnection, one session id, offers out, answers in.
// Never retries.

import { randomId } from "../net/broker.js";
import type { Envelope, SignalType } from "../net/messages.js";
import { CONFIGURATION } from "./spare.js";

const REPEAT_AFTER_MS = [3_000, 6_000, 12_000];
// A server that is there answers within milliseconds, one that has just started at the first repetition.
const SILENT_AFTER_MS = 6_000;
const GIVE_UP_AFTER_MS = 24_000;
const DISCONNECTED_FOR_MS = 5_000;

export interface AttemptEvents {
  publish(type: SignalType, data: unknown, session: string): void;
  onConnected(): void;
  /** Nothing has answered the first offer so far; it will be repeated. */
  onSilent(): void;
  /** The attempt has failed and will not recover. */
  onLost(why: "unanswered" | "failed" | "disconnected"): void;
}

export class Attempt {
  readonly session = randomId();
  readonly connection: RTCPeerConnection;
  readonly startedAt = performance.now();
  answeredAt: number | null = null;
  connectedAt: number | null = null;

  private timers: number[] = [];
  private disconnectedTimer = 0;
  private offered = false;
  private offerAgain = false;
  private restarting = false;
  /** The server's certificate fingerprints in its latest answer. */
  private known: string[] = [];
  private closed = false;

  /** `spare`: a prepared connection to use instead of a new one; it may already have an offer. */
  constructor(
    iceServers: RTCIceServer[],
    private readonly events: AttemptEvents,
    spare: RTCPeerConnection | null = null,
  ) {
    this.connection = spare ?? new RTCPeerConnection({ ...CONFIGURATION, iceServers });
    this.connection.onicecandidate = ({ candidate }) => this.sendCandidate(candidate);
    this.connection.onconnectionstatechange = () => this.watchState();
  }

  /** Sends an offer of all transceivers. If an offer is unanswered, sends the new one after the answer. */
  async offer(): Promise<void> {
    if (this.closed) return;
    if (this.offered && this.connection.signalingState !== "stable") {
      this.offerAgain = true;
      return;
    }
    this.offered = true;
    this.offerAgain = false;
    if (!this.offerFits()) await this.connection.setLocalDescription();
    if (this.closed) return;
    // Sent before candidates are known: an ICE-lite server needs none of ours, a full agent gets them by trickle ICE.
    const sdp = this.connection.localDescription!.sdp;
    this.publish("offer", sdp);
    this.clearTimers();
    this.timers = REPEAT_AFTER_MS.map((delay) => window.setTimeout(() => this.publish("offer", sdp), delay));
    this.timers.push(window.setTimeout(() => this.unanswered(), GIVE_UP_AFTER_MS));
    if (this.answeredAt === null) {
      this.timers.push(window.setTimeout(() => this.events.onSilent(), SILENT_AFTER_MS));
    }
  }

  /** True if the local offer covers all transceivers that the connection has now. */
  private offerFits(): boolean {
    const { signalingState } = this.connection;
    return signalingState === "have-local-offer" && this.connection.getTransceivers().every(({ mid }) => mid !== null);
  }

  async answer(sdp: string): Promise<void> {
    if (this.closed || this.connection.signalingState !== "have-local-offer") return;
    // Another server's answer while the path to ours works. On a dead path it may be that of a restarted server.
    const shown = fingerprints(sdp);
    if (this.connectedAt !== null && !this.restarting && !shown.some((one) => this.known.includes(one))) return;
    try {
      await this.connection.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      // A late repetition of the answer to an earlier offer: the right one is still to come.
      console.warn("ignored an answer that does not match the offer", error);
      return;
    }
    this.known = shown;
    this.restarting = false;
    this.clearTimers();
    this.answeredAt ??= performance.now();
    if (this.offerAgain) await this.offer();
  }

  /** Restarts ICE (RFC 8445 section 9). Media on the old path continues meanwhile. */
  async restart(): Promise<void> {
    if (this.closed || this.connectedAt === null) return;
    this.restarting = true;
    this.connection.restartIce();
    await this.offer();
  }

  /** Sends an unanswered offer again, since the server may not have received it. */
  repeat(): void {
    const { signalingState, localDescription } = this.connection;
    if (this.offered && signalingState === "have-local-offer") this.publish("offer", localDescription!.sdp);
  }

  async candidate(data: Envelope["data"]): Promise<void> {
    if (this.closed || !this.connection.remoteDescription) return;
    await this.connection.addIceCandidate(data as RTCIceCandidateInit | null).catch(() => undefined);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.clearTimers();
    clearTimeout(this.disconnectedTimer);
    this.connection.onicecandidate = null;
    this.connection.onconnectionstatechange = null;
    this.connection.close();
  }

  private publish(type: SignalType, data: unknown): void {
    this.events.publish(type, data, this.session);
  }

  private sendCandidate(candidate: RTCIceCandidate | null): void {
    const { candidate: text, sdpMid, sdpMLineIndex } = candidate?.toJSON() ?? {};
    if (candidate === null) this.publish("candidate", null);
    else if (text) this.publish("candidate", { candidate: text, sdpMid, sdpMLineIndex });
  }

  private watchState(): void {
    const state = this.connection.connectionState;
    clearTimeout(this.disconnectedTimer);
    if (state === "connected") {
      this.connectedAt ??= performance.now();
      this.events.onConnected();
    } else if (state === "failed") {
      this.events.onLost("failed");
    } else if (state === "disconnected") {
      void this.restart();
      this.disconnectedTimer = window.setTimeout(() => this.events.onLost("disconnected"), DISCONNECTED_FOR_MS);
    }
  }

  private unanswered(): void {
    this.clearTimers();
    if (this.connection.connectionState === "connected") {
      // Only signalling has failed; media continues. The next change makes a new offer.
      void this.connection.setLocalDescription({ type: "rollback" });
    } else {
      this.events.onLost("unanswered");
    }
  }

  private clearTimers(): void {
    this.timers.forEach(clearTimeout);
    this.timers = [];
  }
}

/** Returns the certificate fingerprints in an SDP, in one case: they say which server has written it. */
function fingerprints(sdp: string): string[] {
  return Array.from(sdp.matchAll(/^a=fingerprint:(.+?)\s*$/gim), ([, value]) => value!.trim().toUpperCase());
}
