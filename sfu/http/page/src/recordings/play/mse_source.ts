// Plays recorded parts through Media Source Extensions (W3C): fetches and appends them as playback needs them.

import { bytes, type Camera, segments } from "../data/catalogue.js";
import { kindsOf, mimeOf } from "../data/codecs.js";
import { NoParts, PartReader } from "../data/part_reader.js";
import { type Part, segmentStart } from "../data/playlist.js";
import { isWebm, turnOf, withoutTurn } from "../data/turn.js";
import { sortBlocks } from "../data/webm.js";
import { Axis } from "./axis.js";
import type { Condition, PlaybackSource } from "./source.js";

// Every time that is sought must be within the duration: 57 days on either side of the first.
const DURATION_S = 1e7;
const AT_END_S = 0.5;
const BEHIND_S = 30;
const AHEAD_S = 12;
// Chromium's limit for a source buffer is 150 MB.
const MAX_AHEAD_BYTES = 30e6;

/** iPhones have ManagedMediaSource only. */
const MediaSourceClass =
  (window as { ManagedMediaSource?: typeof MediaSource }).ManagedMediaSource ?? window.MediaSource;

export const supported = MediaSourceClass !== undefined;

export class MseSource implements PlaybackSource {
  condition: Condition = "loading";
  /** Wall time at which another source must continue, if `condition` is `handover`. */
  resumeAt = 0;

  private readonly axis: Axis;
  private readonly mediaSource = new MediaSourceClass!();
  private readonly opened: Promise<unknown>;
  private buffer: SourceBuffer | null = null;
  private mime = "";
  private turn: string | null = null;
  private header: { url: string; data: Uint8Array<ArrayBuffer> } | null = null;
  private appendedHeader = "";
  private running = new AbortController();
  private filling = false;
  private keyFrames: { reader: PartReader; signal: AbortSignal } | null = null;
  private work: Promise<unknown> = Promise.resolve();
  private wake: () => void = () => undefined;
  private bytesPerSecond = 0;

  /** `origin`: the first wall time that will be sought. */
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
      const reader = this.newReader(wall, signal);
      const first = await this.appendNext(reader, signal);
      if (!first) return false;
      this.video.currentTime = this.axis.media(Math.max(wall, first.start)) ?? 0;
      void this.fill(reader, signal);
      return true;
    });
  }

  /** Moves the video to the next part that ends after `wall`, and fetches only that; null after the last. */
  async showKeyFrame(wall: number): Promise<Part | null> {
    if (!this.keyFrames) {
      await this.restart(async () => {
        await this.empty();
        return true;
      });
      const { signal } = this.running;
      this.keyFrames = { reader: this.newReader(wall, signal), signal };
    }
    const { reader, signal } = this.keyFrames;
    const taken = (this.work = this.appendNext(reader, signal, wall));
    const part = await taken;
    if (part) this.video.currentTime = (this.axis.media(part.start) ?? 0) + 0.001;
    return part;
  }

  /** Aborts the running task, waits for its end, and starts another. */
  private async restart(task: (signal: AbortSignal) => Promise<boolean>): Promise<boolean> {
    this.running.abort();
    this.wake();
    const { signal } = (this.running = new AbortController());
    await this.work.catch(() => undefined);
    signal.throwIfAborted();
    this.keyFrames = null;
    this.filling = false;
    this.condition = "loading";
    const work = task(signal);
    this.work = work;
    return work;
  }

  private newReader(wall: number, signal: AbortSignal): PartReader {
    return new PartReader(this.camera, wall, signal, () => (this.condition = "edge"));
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
      while (!signal.aborted && !this.bufferLow()) await new Promise<void>((resolve) => (this.wake = resolve));
      const taken = (this.work = this.appendNext(reader, signal).then((part) => part && this.trim().then(() => part)));
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

  /** Appends the reader's next part to the buffer; null after the last. */
  private async appendNext(reader: PartReader, signal: AbortSignal, from?: number): Promise<Part | null> {
    const part = await reader.next(from);
    if (!part) return null;
    this.condition = "loading";
    const [header, data] = await Promise.all([
      this.headerOf(part, signal),
      bytes(part.url, part.offset, part.size, signal),
    ]);
    signal.throwIfAborted();
    if (isWebm(header) && turnOf(header)) await this.playWhole(part);
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

  /** Throws NoParts for a WebM with turned pictures: only as a file do they stand upright. One that grows lies. */
  private async playWhole(part: Part): Promise<void> {
    const listed = await segments(this.camera, part);
    const whole = listed.find((it) => !it.writing && part.url.endsWith(it.url));
    if (whole) throw new NoParts(whole);
  }

  private async put(part: Part, header: Uint8Array<ArrayBuffer>, data: Uint8Array<ArrayBuffer>): Promise<void> {
    const turn = isWebm(header) ? "" : turnOf(header);
    this.turn ??= turn;
    if (turn !== this.turn) throw new Error("a media source cannot turn its pictures otherwise than before");
    const buffer = await this.prepare(mimeOf(header));
    if (this.mime.startsWith("video/webm")) sortBlocks(data);
    const offset = this.axis.put(part.start, part.end, segmentStart(part.url));
    if (Math.abs(buffer.timestampOffset - offset) > 1e-6) buffer.timestampOffset = offset;
    if (this.appendedHeader !== part.url) await this.append(buffer, isWebm(header) ? withoutTurn(header) : header);
    this.appendedHeader = part.url;
    await this.append(buffer, data);
  }

  private async prepare(mime: string): Promise<SourceBuffer> {
    await this.opened;
    if (!this.buffer) {
      this.mediaSource.duration = DURATION_S;
      this.buffer = this.mediaSource.addSourceBuffer(mime);
    } else if (mime !== this.mime) {
      if (kindsOf(mime) !== kindsOf(this.mime)) throw new Error("a source buffer cannot change its set of tracks");
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

  private bufferLow(): boolean {
    const { buffered, currentTime, playbackRate } = this.video;
    if (buffered.length === 0) return true;
    const ahead = buffered.end(buffered.length - 1) - currentTime;
    return ahead < AHEAD_S || (ahead < AHEAD_S * playbackRate && ahead * this.bytesPerSecond < MAX_AHEAD_BYTES);
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
    this.appendedHeader = "";
    if (!this.buffer) return;
    this.buffer.abort();
    this.buffer.remove(0, Infinity);
    await settled(this.buffer);
  }
}

/** Waits until the buffer has taken the bytes; rejects if it refuses them. */
async function settled(buffer: SourceBuffer): Promise<void> {
  if (!buffer.updating) return;
  await new Promise<void>((resolve, reject) => {
    buffer.addEventListener("error", () => reject(new Error("the browser refused these bytes")), { once: true });
    buffer.addEventListener("updateend", () => resolve(), { once: true });
  });
}
