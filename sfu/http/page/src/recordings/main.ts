// The bundle of its own that the wall loads when recordings are first wanted.

import type { Camera } from "./data/catalogue.js";
import { type Around, RecordingsView } from "./ui/view.js";

export type { Around, RecordingsView };

/** Shows the recordings above everything else: of `camera` or the first there is, from `time` or the latest. */
export function open(camera: Camera | null, time: number | null, around: Around): RecordingsView {
  const view = new RecordingsView(around);
  document.body.append(view.node);
  void view.open(camera, time);
  return view;
}
