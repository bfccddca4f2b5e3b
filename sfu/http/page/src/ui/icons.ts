// Icons of the `lucide` package, and the buttons that show nothing else.

import { createElement, type IconNode } from "lucide";

import { element } from "./dom.js";

export type { IconNode };

/** Returns `node` drawn as an SVG element of the size of the text around it. */
export function icon(node: IconNode): SVGElement {
  return createElement(node, { class: "icon", "aria-hidden": "true" });
}

/** Returns a button that shows only an icon; `label` is its name and its tooltip. */
export function iconButton(node: IconNode, label: string, onClick: () => void, style: string): HTMLButtonElement {
  const press = (event: Event): void => {
    event.stopPropagation();
    onClick();
  };
  return element(
    "button",
    { type: "button", class: style, "aria-label": label, title: label, click: press },
    icon(node),
  );
}

/** Gives an icon button another icon and label. */
export function relabel(button: HTMLButtonElement, node: IconNode, label: string): void {
  if (button.title === label) return;
  button.replaceChildren(icon(node));
  button.title = label;
  button.setAttribute("aria-label", label);
}
