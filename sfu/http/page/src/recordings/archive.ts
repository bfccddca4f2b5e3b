// Opens the recordings from the wall: loads their bundle when first needed, keeps camera and time in the address.

import { place } from "../ui/config.js";
import { element } from "../ui/dom.js";
import type { Camera } from "./data/catalogue.js";
import type { RecordingsView } from "./main.js";

type Bundle = typeof import("./main.js");

const FIELD = "recordings";
const MOMENT = "at";

export interface Recorder {
  recording(room: string): boolean;
  /** True if the visitor may start and stop recording, and protect recordings. */
  readonly mayRecord: boolean;
  /** Starts or stops recording. Returns false if the broker is unreachable. */
  record(room: string, on: boolean): boolean;
  /** Shows the live video of a camera. */
  showLive(camera: Camera): void;
}

export class Archive {
  private view: RecordingsView | null = null;
  private bundle: Promise<Bundle> | null = null;
  private opening = 0;

  constructor(readonly recorder: Recorder) {
    for (const name of ["popstate", "hashchange"]) addEventListener(name, () => this.follow());
  }

  /** Opens or closes the recordings as the address says. */
  follow(): void {
    const wanted = fromAddress();
    if (!wanted) this.close();
    else if (!this.view) void this.show(wanted.camera, wanted.time);
  }

  /** Opens the recordings as a step in the browser's history, so that its back button closes them. */
  open(camera: Camera | null): void {
    history.pushState({ from: "wall" }, "", address(camera, null));
    void this.show(camera, null);
  }

  /** Loads the bundle in advance, for example while the pointer is over the button. */
  prepare(): void {
    this.load().catch(() => (this.bundle = null));
  }

  /** Returns the state of the player for tests; null while no recordings are shown. */
  report(): Record<string, unknown> | null {
    return this.view?.report() ?? null;
  }

  private async show(camera: Camera | null, time: number | null): Promise<void> {
    const opening = (this.opening += 1);
    const { open } = await this.load();
    if (opening !== this.opening || this.view) return;
    this.view = open(camera, time, {
      recording: (room) => this.recorder.recording(room),
      mayProtect: this.recorder.mayRecord,
      positionChanged: (it, at) => history.replaceState(history.state, "", address(it, at)),
      onClose: (live) => this.closed(live),
    });
  }

  private close(): void {
    this.opening += 1;
    const { view } = this;
    this.view = null;
    view?.close();
  }

  private closed(live: boolean): void {
    const { view } = this;
    this.view = null;
    // Closed because the address has changed: the history is right already.
    if (!view) return;
    if (history.state?.from === "wall") history.back();
    else history.replaceState(null, "", `#${place()}`);
    if (live && view.camera) this.recorder.showLive(view.camera);
  }

  private load(): Promise<Bundle> {
    this.bundle ??= loaded();
    return this.bundle;
  }
}

function fromAddress(): { camera: Camera | null; time: number | null } | null {
  const [, query] = location.hash.split("?");
  const fields = new URLSearchParams(query ?? "");
  const name = fields.get(FIELD);
  if (name === null) return null;
  const slash = name.lastIndexOf("/");
  const time = Date.parse(fields.get(MOMENT) ?? "");
  return {
    camera: slash > 0 ? { room: name.slice(0, slash), peer: name.slice(slash + 1) } : null,
    time: Number.isNaN(time) ? null : time,
  };
}

function address(camera: Camera | null, time: number | null): string {
  const name = camera ? `${camera.room}/${camera.peer}` : "";
  const moment = time === null ? "" : `&${MOMENT}=${new Date(time).toISOString().slice(0, 19)}Z`;
  return `#${place()}?${FIELD}=${name}${moment}`;
}

/** Loads the bundle of the same version from the same folder as this one. */
async function loaded(): Promise<Bundle> {
  const url = (name: string): string => new URL(`${name}${new URL(import.meta.url).search}`, import.meta.url).href;
  const styled = new Promise((resolve) => {
    document.head.append(
      element("link", { rel: "stylesheet", href: url("recordings.css"), load: resolve, error: resolve }),
    );
  });
  const [bundle] = await Promise.all([import(url("recordings.js")) as Promise<Bundle>, styled]);
  return bundle;
}
