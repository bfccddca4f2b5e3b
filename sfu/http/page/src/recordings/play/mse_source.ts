// Fills a video element's MediaSource with recorded parts (W3C Media MediaSourceClass Extensions) as playing needs them.

import { bytes, type Camera } from "../data/catalogue.js";
import { kindsOf, mimeOf } from "../data/codecs.js";
import { NoParts, PartReader } from "../data/part_reader.js";
import { type Part, segmentStart } from "../data/playlist.js";
import { sortBlocks } from "../data/webm.js";
import { Axis } from "./axis.js";
import type { Condition, PlaybackSource } from "./source.js";

// Any moment that is ever sought must lie before the end: 57 days on either side of the first.
const DURATION_S = 1e7;
const AT_END_S = 0.5;
const BEHIND_S = 30;
const AHEAD_S = 12;
// A source buffer of Chromium holds 150 MB.
const MOST_AHEAD = 30e6;

/** iPhones have the managed one alone. */
const MediaSourceClass =
  (window as { ManagedMediaSource?: typeof MediaSource }).ManagedMediaSource ?? window.MediaSource;

export const supported = MediaSourceClass !== undefined;

export class MseSource implements PlaybackSource {
  condition: Condition = "loading";
  /** Wall time of a part that does not play in one go with those before it; or that which follows one that plays not at all. */
  resumeAt = 0;

  private readonly axis: Axis;
  private readonly mediaSource = new MediaSourceClass!();
  private readonly opened: Promise<unknown>;
  private buffer: SourceBuffer | null = null;
  private mime = "";
  private header: { url: string; data: Uint8Array<ArrayBuffer> } | null = null;
  private headed = "";
  private running = new AbortController();
  private filling = false;
  private strider: { reader: PartReader; signal: AbortSignal } | null = null;
  private work: Promise<unknown> = Promise.resolve();
  private wake: () => void = () => undefined;
  private bytesPerSecond = 0;

  /** `origin`: the first wall time to be sought. */
  constructor(
    private readonly video: HTMLVideoElement,
    private readonly camera: Camera,
    private readonly origin: number,
  ) {
    this.axis = new Axis(origin - (DURATION_S / 2) * 1_000);
    this.opened = new Promise((resolve) => this.mediaSource.addEventListener("sourceopen", resolve, { once: true }));
    video.disableRemotePlayback = true;
    video.src = URL.createObjectURL(this.mediaSource);
  }

  close(): void {
    this.running.abort();
    this.wake();
    URL.revokeObjectURL(this.video.src);
  }

  reaches(wall: number): boolean {
    return Math.abs(wall - this.origin) < (DURATION_S / 2 - 86_400) * 1_000;
  }

  poke(): void {
    this.wake();
  }

  wall(media: number): number {
    return this.axis.wall(media);
  }

  after(media: number): number | null {
    const { buffered } = this.video;
    for (let index = 0; index < buffered.length; index += 1) {
      if (buffered.start(index) <= media && media < buffered.end(index) - AT_END_S) return null;
      if (buffered.start(index) > media + 0.01) return buffered.start(index);
    }
    return null;
  }

  async seek(wall: number): Promise<boolean> {
    const there = this.filling ? this.buffered(wall) : null;
    if (there !== null) {
      this.video.currentTime = there;
      return true;
    }
    return this.restart(async (signal) => {
      await this.empty();
      const reader = new PartReader(this.camera, wall, signal);
      const first = await this.take(reader, signal);
      if (!first) return false;
      this.video.currentTime = this.axis.media(Math.max(wall, first.start)) ?? 0;
      void this.fill(reader, signal);
      return true;
    });
  }

  /** Moves the video to the first part that ends after `wall` and was not shown yet, and fetches nothing else; null: none is left. */
  async stride(wall: number): Promise<Part | null> {
    if (!this.strider) {
      await this.restart(async () => {
        await this.empty();
        return true;
      });
      const { signal } = this.running;
      this.strider = { reader: new PartReader(this.camera, wall, signal), signal };
    }
    const { reader, signal } = this.strider;
    const taken = (this.work = this.take(reader, signal, wall));
    const part = await taken;
    if (part) this.video.currentTime = (this.axis.media(part.start) ?? 0) + 0.001;
    return part;
  }

  /** One thing at a time: what runs is told to end, and waited for. */
  private async restart(task: (signal: AbortSignal) => Promise<boolean>): Promise<boolean> {
    this.running.abort();
    this.wake();
    const { signal } = (this.running = new AbortController());
    await this.work.catch(() => undefined);
    signal.throwIfAborted();
    this.strider = null;
    this.filling = false;
    this.condition = "loading";
    const work = task(signal);
    this.work = work;
    return work;
  }

  private buffered(wall: number): number | null {
    const media = this.axis.media(wall);
    if (media === null) return null;
    const { buffered } = this.video;
    for (let index = 0; index < buffered.length; index += 1) {
      if (buffered.start(index) <= media && media < buffered.end(index) - 0.1) return media;
    }
    return null;
  }

  private async fill(reader: PartReader, signal: AbortSignal): Promise<void> {
    this.filling = true;
    while (!signal.aborted) {
      while (!signal.aborted && !this.hungry()) await new Promise<void>((resolve) => (this.wake = resolve));
      const taken = (this.work = this.take(reader, signal).then((part) => part && this.trim().then(() => part)));
      try {
        if (await taken) continue;
        this.condition = "end";
      } catch (error) {
        if (!signal.aborted) this.stopped(error);
      }
      this.filling &&= signal.aborted;
      return;
    }
  }

  private stopped(error: unknown): void {
    if (error instanceof NoParts) {
      this.condition = "handover";
      this.resumeAt = error.segment.start;
    } else if (this.condition !== "handover") {
      this.condition = "failed";
    }
  }

  /** Puts the reader's next part into the buffer; null after the last. */
  private async take(reader: PartReader, signal: AbortSignal, from?: number): Promise<Part | null> {
    reader.onEdge = () => (this.condition = "edge");
    const part = await reader.next(from);
    if (!part) return null;
    this.condition = "loading";
    const [header, data] = await Promise.all([
      this.headerOf(part, signal),
      bytes(part.url, part.offset, part.size, signal),
    ]);
    signal.throwIfAborted();
    try {
      await this.put(part, header, data);
    } catch (error) {
      console.warn(`cannot play ${part.url}`, error);
      this.condition = "handover";
      this.resumeAt = this.bytesPerSecond ? part.start : part.end;
      throw error;
    }
    this.bytesPerSecond = (part.size / (part.end - part.start)) * 1_000;
    return part;
  }

  private async headerOf(
    { header: { url, offset, size } }: Part,
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (this.header?.url !== url) this.header = { url, data: await bytes(url, offset, size, signal) };
    return this.header.data;
  }

  private async put(part: Part, header: Uint8Array<ArrayBuffer>, data: Uint8Array<ArrayBuffer>): Promise<void> {
    const buffer = await this.prepare(mimeOf(header));
    if (this.mime.startsWith("video/webm")) sortBlocks(data);
    const offset = this.axis.put(part.start, part.end, segmentStart(part.url));
    if (Math.abs(buffer.timestampOffset - offset) > 1e-6) buffer.timestampOffset = offset;
    if (this.headed !== part.url) await this.append(buffer, header);
    this.headed = part.url;
    await this.append(buffer, data);
  }

  private async prepare(mime: string): Promise<SourceBuffer> {
    await this.opened;
    if (!this.buffer) {
      this.mediaSource.duration = DURATION_S;
      this.buffer = this.mediaSource.addSourceBuffer(mime);
    } else if (mime !== this.mime) {
      if (kindsOf(mime) !== kindsOf(this.mime)) throw new Error("a source buffer keeps its tracks");
      this.buffer.changeType(mime);
    }
    this.mime = mime;
    return this.buffer;
  }

  private async append(buffer: SourceBuffer, data: Uint8Array<ArrayBuffer>): Promise<void> {
    buffer.appendBuffer(data);
    await settled(buffer);
    if (this.video.error) throw this.video.error;
  }

  private hungry(): boolean {
    const { buffered, currentTime, playbackRate } = this.video;
    if (buffered.length === 0) return true;
    const ahead = buffered.end(buffered.length - 1) - currentTime;
    return ahead < AHEAD_S || (ahead < AHEAD_S * playbackRate && ahead * this.bytesPerSecond < MOST_AHEAD);
  }

  private async trim(): Promise<void> {
    const { buffer } = this;
    const end = this.video.currentTime - BEHIND_S;
    if (!buffer || buffer.buffered.length === 0 || buffer.buffered.start(0) > end - BEHIND_S) return;
    buffer.remove(0, end);
    await settled(buffer);
  }

  private async empty(): Promise<void> {
    this.axis.clear();
    this.headed = "";
    if (!this.buffer) return;
    this.buffer.abort();
    this.buffer.remove(0, Infinity);
    await settled(this.buffer);
  }
}

/** Rejects when the bytes were refused. */
async function settled(buffer: SourceBuffer): Promise<void> {
  if (!buffer.updating) return;
  await new Promise<void>((resolve, reject) => {
    buffer.addEventListener("error", () => reject(new Error("the browser refused these bytes")), { once: true });
    buffer.addEventListener("updateend", () => resolve(), { once: true });
  });
}
