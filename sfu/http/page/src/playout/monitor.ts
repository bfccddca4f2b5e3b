// Reads the statistics of a view's connection once a second, and sets the jitter buffer target of each window.

import { Cushion } from "./cushion.js";
import { type Rates, ratesBetween, type VideoStats, videoStats } from "./stats.js";

const EVERY_MS = 1_000;

/** The latest statistics of one window. */
export class WindowStats {
  video: VideoStats | null = null;
  rates: Rates | null = null;

  private readonly cushion = new Cushion();

  /** Jitter buffer target in ms; null leaves it to the browser. */
  get target(): number | null {
    return this.cushion.target;
  }

  /** Returns true if `target` has changed. */
  update(video: VideoStats, now: number): boolean {
    this.rates = this.video && ratesBetween(this.video, video);
    this.video = video;
    const before = this.cushion.target;
    return this.cushion.update(video, now) !== before;
  }
}

/** A window of a view, as the monitor needs it. */
export interface MonitoredWindow {
  readonly mid: string | null;
  readonly stats: WindowStats;
  readonly receivers: RTCRtpReceiver[];
}

export class Monitor {
  private readonly timer: number;

  constructor(connection: () => RTCPeerConnection | null, windows: readonly MonitoredWindow[]) {
    this.timer = window.setInterval(() => {
      const present = connection();
      if (present?.connectionState === "connected") void read(present, windows);
    }, EVERY_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

async function read(connection: RTCPeerConnection, windows: readonly MonitoredWindow[]): Promise<void> {
  const reports = await connection.getStats();
  for (const { mid, stats, receivers } of windows) {
    const video = videoStats(reports, mid);
    if (video && stats.update(video, performance.now())) setTarget(receivers, stats.target);
  }
}

/** Sets the same target for video and audio, which must stay in sync. */
function setTarget(receivers: RTCRtpReceiver[], target: number | null): void {
  for (const receiver of receivers) {
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = target;
  }
}
