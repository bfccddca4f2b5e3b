// This browser as a camera: its devices, and a session that sends them to one room.

import { randomId } from "../net/broker.js";
import { Watch } from "../session/liveness.js";
import { Session, type Surroundings } from "../session/session.js";
import type { PublishRequest } from "../ui/config.js";

// The server reports once a second.
const PATIENCE_MS = 2_500;

/** Codec names in lower case that this browser can send. */
export function sendableCodecs(): string[] {
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const names = codecs.map((codec) => codec.mimeType.slice("video/".length).toLowerCase());
  return [...new Set(names)].filter((name) => ["h264", "vp8", "vp9", "av1", "h265"].includes(name));
}

/** Browsers hand out cameras to https pages and to localhost alone. */
export function devicesAvailable(): boolean {
  return typeof navigator.mediaDevices?.getUserMedia === "function";
}

export function suggestedPeer(): string {
  return `${/Android|iPhone|iPad/.test(navigator.userAgent) ? "phone" : "browser"}-${randomId().slice(0, 4)}`;
}

/** Rejects with the DOMException of getUserMedia when the devices cannot be had. */
export async function openDevices(request: { audio: boolean; facing: string }): Promise<MediaStream> {
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: request.facing };
  const audio = request.audio && { echoCancellation: true, noiseSuppression: true };
  return navigator.mediaDevices.getUserMedia({ video, audio });
}

export class Publisher {
  readonly session: Session;
  onChange: () => void = () => undefined;

  private readonly watch: Watch;

  constructor(
    around: Surroundings,
    readonly request: PublishRequest & { peer: string },
    readonly stream: MediaStream,
  ) {
    const place = { room: request.room, role: "pub" as const, peer: request.peer };
    this.session = new Session(around, place, (connection) => this.prepare(connection));
    this.session.onPhase = () => this.onChange();
    this.watch = new Watch(
      () => this.session.attempt?.connection ?? null,
      PATIENCE_MS,
      () => this.session.moved(),
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

/** Offers `name` alone, so that no setting of the server can choose another. */
function prefer(transceiver: RTCRtpTransceiver, name: string): void {
  const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const wanted = codecs.filter((codec) => codec.mimeType.toLowerCase() === `video/${name}`);
  if (wanted.length > 0) transceiver.setCodecPreferences(wanted);
}
