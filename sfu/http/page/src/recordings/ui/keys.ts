// The keyboard of the recordings.

import { RECORDING_KEYS, showKeys } from "../../ui/keys_help.js";
import type { Steps } from "./controls.js";

const STEP_MS = 10_000;
const LONG_STEP_MS = 60_000;
export const ZOOM_FACTOR = 0.5;

export interface Actions extends Steps {
  /** Makes the shown part of the day `factor` times as long. */
  zoom(factor: number): void;
  first(): void;
  latest(): void;
  mute(): void;
  cut(): void;
  /** Sets an edge of the clip to the position of the video. */
  mark(edge: "start" | "end"): void;
  live(): void;
}

/** Calls the action of a pressed key; does nothing for keys that the focused control uses itself. */
export function pressKey(event: KeyboardEvent, actions: Actions): void {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, .choice-panel")) return;
  if (event.key === " " && target.closest("button, a")) return;
  const action = actionOf(event.key, event.shiftKey ? LONG_STEP_MS : STEP_MS, actions);
  if (!action) return;
  event.preventDefault();
  action();
}

function actionOf(key: string, stepMs: number, actions: Actions): (() => void) | undefined {
  const known: Record<string, () => void> = {
    " ": () => actions.toggle(),
    k: () => actions.toggle(),
    ArrowLeft: () => actions.step(-stepMs),
    ArrowRight: () => actions.step(stepMs),
    ArrowUp: () => actions.zoom(ZOOM_FACTOR),
    ArrowDown: () => actions.zoom(1 / ZOOM_FACTOR),
    "+": () => actions.zoom(ZOOM_FACTOR),
    "-": () => actions.zoom(1 / ZOOM_FACTOR),
    PageUp: () => actions.jump(-1),
    PageDown: () => actions.jump(1),
    Home: () => actions.first(),
    End: () => actions.latest(),
    m: () => actions.mute(),
    c: () => actions.cut(),
    i: () => actions.mark("start"),
    o: () => actions.mark("end"),
    l: () => actions.live(),
    "?": () => showKeys(RECORDING_KEYS),
  };
  return known[key];
}
