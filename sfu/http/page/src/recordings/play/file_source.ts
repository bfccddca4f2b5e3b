// Plays one segment as a whole file: a progressive MP4, which has an index of its own and no parts.

import type { Segment } from "../data/spans.js";
import type { Condition, PlaybackSource } from "./source.js";

const HAVE_METADATA = 1;

export class FileSource implements PlaybackSource {
  condition: Condition = "loading";
  readonly resumeAt: number;
  private readonly ended = (): void => void (this.condition = "handover");

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly segment: Segment,
  ) {
    this.resumeAt = segment.end;
    video.src = segment.url;
    for (const name of ["ended", "error"]) video.addEventListener(name, this.ended);
  }

  close(): void {
    for (const name of ["ended", "error"]) this.video.removeEventListener(name, this.ended);
  }

  reaches(wall: number): boolean {
    return this.segment.start <= wall && wall < this.segment.end;
  }

  poke(): void {
    // The browser fetches the file on its own.
  }

  wall(media: number): number {
    return this.segment.start + media * 1_000;
  }

  after(): null {
    return null;
  }

  async seek(wall: number): Promise<boolean> {
    const { video } = this;
    this.condition = "loading";
    if (video.readyState < HAVE_METADATA) {
      await new Promise<void>((resolve, reject) => {
        video.addEventListener("loadedmetadata", () => resolve(), { once: true });
        video.addEventListener("error", () => reject(new Error("the browser refused this file")), { once: true });
      });
    }
    video.currentTime = Math.max(0, wall - this.segment.start) / 1_000;
    return true;
  }

  async showKeyFrame(wall: number): Promise<{ start: number; end: number } | null> {
    if (wall >= this.segment.end) {
      this.condition = "handover";
      throw new Error("the file ends here");
    }
    await this.seek(wall);
    return { start: wall, end: wall };
  }
}
