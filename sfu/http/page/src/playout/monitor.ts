// Looks at a view's connection once a second: each window gets its figures, and keeps as much as its way needs.

import { Cushion } from "./cushion.js";
import { type Rates, ratesBetween, type VideoStats, videoStats } from "./stats.js";

const EVERY_MS = 1_000;

/** What one window's way was last seen to be. */
export class WindowStats {
  figures: VideoStats | null = null;
  rates: Rates | null = null;

  private readonly cushion = new Cushion();

  /** ms that the window keeps by our wish; null leaves it to the browser. */
  get cushioned(): number | null {
    return this.cushion.target;
  }

  /** Returns whether `cushioned` may have changed. */
  update(figures: VideoStats, now: number): boolean {
    this.rates = this.figures && ratesBetween(this.figures, figures);
    this.figures = figures;
    const before = this.cushion.target;
    return this.cushion.update(figures, now) !== before;
  }
}

/** What is looked at: a window of a view. */
export interface MonitoredWindow {
  readonly mid: string | null;
  readonly measured: WindowStats;
  readonly receivers: RTCRtpReceiver[];
}

export class Monitor {
  private readonly timer: number;

  constructor(connection: () => RTCPeerConnection | null, windows: readonly MonitoredWindow[]) {
    this.timer = window.setInterval(() => {
      const present = connection();
      if (present?.connectionState === "connected") void look(present, windows);
    }, EVERY_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

async function look(connection: RTCPeerConnection, windows: readonly MonitoredWindow[]): Promise<void> {
  const reports = await connection.getStats();
  for (const { mid, measured, receivers } of windows) {
    const figures = videoStats(reports, mid);
    if (figures && measured.update(figures, performance.now())) keep(receivers, measured.cushioned);
  }
}

/** Picture and sound alike, or lips and words would part. */
function keep(receivers: RTCRtpReceiver[], target: number | null): void {
  for (const receiver of receivers) {
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = target;
  }
}
