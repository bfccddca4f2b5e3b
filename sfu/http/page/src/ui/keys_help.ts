// The list of keys, shown by `?`.

import { element } from "./dom.js";

export type KeyList = readonly (readonly [keys: string, action: string])[];

export const WALL_KEYS: KeyList = [
  ["← → ↑ ↓", "Choose a camera"],
  ["Enter", "Enlarge it, or back to the wall"],
  ["Esc", "Back to the wall"],
  ["m", "Sound on or off"],
  ["f", "Full screen"],
  ["i", "Statistics"],
  ["?", "These keys"],
];

export const RECORDING_KEYS: KeyList = [
  ["Space, k", "Play or pause"],
  ["← →", "10 s back or on; with Shift a minute"],
  ["Page ↑ ↓", "Recording before or after"],
  ["Home, End", "First recording, or the latest"],
  ["↑ ↓, + −", "Zoom in or out"],
  ["c", "Cut a clip; i and o set its start and end"],
  ["m", "Sound on or off"],
  ["l", "Live video of this camera"],
  ["?", "These keys"],
];

/** Shows `keys` in a dialog until a key or a click closes it. */
export function showKeys(keys: KeyList): void {
  const dialog = element(
    "dialog",
    { class: "keys", "aria-label": "Keys", click: () => dialog.close() },
    element("h2", {}, "Keys"),
    element("dl", {}, ...keys.flatMap(([key, action]) => [element("dt", {}, key), element("dd", {}, action)])),
  );
  dialog.addEventListener("close", () => dialog.remove());
  // The dialog below, if there is one, must not take the key for its own.
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "?") dialog.close();
  });
  dialog.addEventListener("cancel", (event) => event.stopPropagation());
  document.body.append(dialog);
  dialog.showModal();
}
