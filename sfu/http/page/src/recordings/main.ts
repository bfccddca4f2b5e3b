// Entry of the recordings bundle, which the wall loads when it is first needed.

import type { Camera } from "./data/catalogue.js";
import { type Around, RecordingsView } from "./ui/view.js";

export type { Around, RecordingsView };

/** Shows the recordings over the wall: of `camera` or else the first one, from `time` or else the latest. */
export function open(camera: Camera | null, time: number | null, around: Around): RecordingsView {
  const view = new RecordingsView(around);
  document.body.append(view.node);
  void view.open(camera, time);
  return view;
}
