// Sends the sizes of a view's windows to the server: a small window does not need a large video.

import type { Size } from "../net/messages.js";

// A browser window that is being resized changes with each movement of the pointer.
const MIN_INTERVAL_MS = 250;

export interface Sized {
  readonly mid: string | null;
  /** In device pixels; null before it was first shown. */
  readonly size: Size | null;
}

export class SizeReports {
  private timer = 0;
  private readonly sent = new Map<string, string>();

  /** `send` returns false if the sizes could not be sent. */
  constructor(
    private readonly windows: readonly Sized[],
    private readonly send: (slots: ({ mid: string } & Size)[]) => boolean,
  ) {}

  /** Sends changed sizes soon. Call it when a window may have another size. */
  changed(): void {
    this.timer ||= window.setTimeout(() => this.sendChanged(), MIN_INTERVAL_MS);
  }

  /** Sends all sizes soon, for a new session. */
  forget(): void {
    this.sent.clear();
    this.changed();
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  private sendChanged(): void {
    this.timer = 0;
    const slots = this.windows.flatMap(({ mid, size }) => (mid !== null && size ? [{ mid, ...size }] : []));
    const changed = slots.filter((slot) => this.sent.get(slot.mid) !== key(slot));
    if (changed.length > 0 && this.send(changed)) changed.forEach((slot) => this.sent.set(slot.mid, key(slot)));
  }
}

function key({ width, height }: Size): string {
  return `${width}x${height}`;
}
