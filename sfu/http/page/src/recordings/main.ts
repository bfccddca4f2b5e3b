// The bundle of its own that the wall loads when recordings are first wanted.

import type { Camera } from "./data/catalogue.js";
import { type Around, View } from "./ui/view.js";

export type { Around, View };

/** Shows the recordings above everything else: of `camera` or the first there is, from `time` or the latest. */
export function open(camera: Camera | null, time: number | null, around: Around): View {
  const view = new View(around);
  document.body.append(view.node);
  void view.open(camera, time);
  return view;
}
