// Tells the server how large a view's windows are on this screen: a small one needs no large pictures.

import type { Size } from "../net/messages.js";

// A window that is pulled larger changes with each step of the hand.
const AT_MOST_EACH_MS = 250;

export interface Sized {
  readonly mid: string | null;
  /** In pixels of the screen; null before it was ever on it. */
  readonly size: Size | null;
}

export class SizeReports {
  private timer = 0;
  private readonly told = new Map<string, string>();

  /** `say` returns false if it could not be said. */
  constructor(
    private readonly windows: readonly Sized[],
    private readonly say: (slots: ({ mid: string } & Size)[]) => boolean,
  ) {}

  /** To be called when a window may have another size than before. */
  changed(): void {
    this.timer ||= window.setTimeout(() => this.tell(), AT_MOST_EACH_MS);
  }

  /** Another session begins, which knows nothing yet. */
  forget(): void {
    this.told.clear();
    this.changed();
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  private tell(): void {
    this.timer = 0;
    const slots = this.windows.flatMap(({ mid, size }) => (mid !== null && size ? [{ mid, ...size }] : []));
    const news = slots.filter((slot) => this.told.get(slot.mid) !== words(slot));
    if (news.length > 0 && this.say(news)) news.forEach((slot) => this.told.set(slot.mid, words(slot)));
  }
}

function words({ width, height }: Size): string {
  return `${width}x${height}`;
}
