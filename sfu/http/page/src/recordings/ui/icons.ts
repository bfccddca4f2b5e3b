// The drawings of the player's buttons.

import { drawing, element } from "../../ui/dom.js";

const PATHS = {
  back: "M15 5l-7 7 7 7",
  on: "M9 5l7 7-7 7",
  play: "M8 5.5v13l10-6.5z",
  pause: "M8 5v14M16 5v14",
  back10: "M4 5v5h5M4.6 10A8 8 0 1 1 4 13.5M10 10.5v5.5M13 12a1.5 1.5 0 0 1 3 0v2.5a1.5 1.5 0 0 1-3 0z",
  on10: "M20 5v5h-5M19.4 10a8 8 0 1 0 .6 3.5M9 10.5v5.5M12 12a1.5 1.5 0 0 1 3 0v2.5a1.5 1.5 0 0 1-3 0z",
  before: "M18 6v12l-9-6zM6 6v12",
  next: "M6 6v12l9-6zM18 6v12",
  soundOn: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a7.5 7.5 0 0 1 0 11",
  soundOff: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5",
  locked: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  unlocked: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 6.7-1.4",
  scissors: "M8.2 8.4 20 17M8.2 15.6 20 7M8.5 7a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0zM8.5 17a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0z",
  download: "M12 4v11M7.5 11l4.5 4.5 4.5-4.5M5 19.5h14",
  closer: "M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM15.5 15.5 20 20M8 10.5h5M10.5 8v5",
  farther: "M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM15.5 15.5 20 20M8 10.5h5",
  close: "M6 6l12 12M18 6L6 18",
  calendar: "M5 6.5h14V20H5zM5 10.5h14M8.5 4v4M15.5 4v4",
};

export type PlayerIcon = keyof typeof PATHS;

export function button(name: PlayerIcon, label: string, onClick: () => void, style = ""): HTMLButtonElement {
  return element("button", { type: "button", class: `act ${style}`, "aria-label": label, title: label, click: onClick }, drawing(PATHS[name]));
}

export function redraw(node: HTMLButtonElement, name: PlayerIcon, label: string): void {
  if (node.title === label) return;
  node.replaceChildren(drawing(PATHS[name]));
  node.title = label;
  node.setAttribute("aria-label", label);
}

export function symbol(name: PlayerIcon): SVGSVGElement {
  return drawing(PATHS[name]);
}
