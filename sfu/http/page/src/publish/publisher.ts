// This browser as a camera: opens its devices and publishes them in one room.

import { randomId } from "../net/broker.js";
import { Watch } from "../session/liveness.js";
import { Session, type Surroundings } from "../session/session.js";
import type { PublishRequest } from "../ui/config.js";

// The server sends receiver reports once a second.
const PATIENCE_MS = 2_500;

/** Returns the video codecs that this browser can send, in lower case. */
export function sendableCodecs(): string[] {
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const names = codecs.map((codec) => codec.mimeType.slice("video/".length).toLowerCase());
  return [...new Set(names)].filter((name) => ["h264", "vp8", "vp9", "av1", "h265"].includes(name));
}

/** True if this page may use cameras: on https and on localhost only. */
export function devicesAvailable(): boolean {
  return typeof navigator.mediaDevices?.getUserMedia === "function";
}

export function suggestedPeer(): string {
  return `${/Android|iPhone|iPad/.test(navigator.userAgent) ? "phone" : "browser"}-${randomId().slice(0, 4)}`;
}

/** Opens camera and microphone. Rejects with the DOMException of getUserMedia. */
export async function openDevices(request: { audio: boolean; facing: string }): Promise<MediaStream> {
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: request.facing };
  const audio = request.audio && { echoCancellation: true, noiseSuppression: true };
  return navigator.mediaDevices.getUserMedia({ video, audio });
}

export class Publisher {
  readonly session: Session;

  private readonly watch: Watch;

  constructor(
    around: Surroundings,
    readonly request: PublishRequest & { peer: string },
    readonly stream: MediaStream,
    onChange: () => void,
  ) {
    const place = { room: request.room, role: "pub" as const, peer: request.peer };
    const listener = {
      prepare: (connection: RTCPeerConnection) => this.prepare(connection),
      phaseChanged: onChange,
      tracksChanged: () => undefined,
    };
    this.session = new Session(around, place, listener);
    this.watch = new Watch(
      () => this.session.attempt?.connection ?? null,
      PATIENCE_MS,
      () => this.session.restartIce(),
    );
    for (const track of stream.getTracks()) track.onended = () => this.stop();
    this.session.update();
  }

  stop(): void {
    this.stream.getTracks().forEach((track) => track.stop());
    this.watch.stop();
    this.session.close();
  }

  private prepare(connection: RTCPeerConnection): void {
    for (const track of this.stream.getTracks()) {
      const transceiver = connection.addTransceiver(track, { direction: "sendonly", streams: [this.stream] });
      if (track.kind === "video" && this.request.codec) prefer(transceiver, this.request.codec);
    }
  }
}

/** Offers `name` only, so that the server cannot choose another codec. */
function prefer(transceiver: RTCRtpTransceiver, name: string): void {
  const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const wanted = codecs.filter((codec) => codec.mimeType.toLowerCase() === `video/${name}`);
  if (wanted.length > 0) transceiver.setCodecPreferences(wanted);
}
