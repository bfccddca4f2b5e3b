// Chooses a day: the previous or next one with recordings, or one from a calendar that marks them.

import { Calendar, ChevronLeft, ChevronRight } from "lucide";

import { element } from "../../ui/dom.js";
import { icon, iconButton } from "../../ui/icons.js";
import type { Span } from "../data/spans.js";
import { dayName } from "./format.js";
import { dayOf } from "./scale.js";

const MONTH = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric" });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: "narrow" });
const MONDAY = 1;

/** UTC days with recordings, and the span of all recordings, of one camera. */
export interface Known extends Span {
  days: string[];
}

export class Days {
  readonly node: HTMLElement;

  private day = dayOf(Date.now());
  private month = this.day.start;
  private known: Known | null = null;
  private readonly label = element("span");
  private readonly back = iconButton(ChevronLeft, "Previous day with recordings", () => this.step(-1), "act");
  private readonly on = iconButton(ChevronRight, "Next day with recordings", () => this.step(1), "act");
  private readonly opener: HTMLButtonElement;
  private readonly calendar = element("div", {
    class: "calendar",
    role: "dialog",
    "aria-label": "Choose a day",
    hidden: true,
  });

  constructor(private readonly onChoose: (day: Span) => void) {
    this.opener = element(
      "button",
      {
        type: "button",
        class: "day",
        "aria-haspopup": "dialog",
        click: () => this.open(this.calendar.hidden === true),
      },
      icon(Calendar),
      this.label,
    );
    this.node = element("div", { class: "days" }, this.back, this.opener, this.on, this.calendar);
    this.node.addEventListener("focusout", (event) => {
      if (!this.node.contains(event.relatedTarget as Node | null)) this.open(false);
    });
    this.node.addEventListener("keydown", (event) => this.key(event));
  }

  show(day: Span, known: Known | null): void {
    this.day = day;
    this.known = known;
    this.label.textContent = dayName(day.start);
    this.back.disabled = this.neighbour(-1) === null;
    this.on.disabled = this.neighbour(1) === null;
    if (!this.calendar.hidden) this.draw();
  }

  private step(way: 1 | -1): void {
    const day = this.neighbour(way);
    if (day) this.onChoose(day);
  }

  private neighbour(way: 1 | -1): Span | null {
    const { known } = this;
    let day = this.day;
    while (known) {
      day = dayOf(way > 0 ? day.end : day.start - 1);
      if (way > 0 ? day.start >= known.end : day.end <= known.start) return null;
      if (this.recorded(day)) return day;
    }
    return null;
  }

  /** True if `day` may have recordings: the server lists UTC days, and a local day overlaps two of them. */
  private recorded(day: Span): boolean {
    const { known } = this;
    if (!known || day.end <= known.start || day.start >= known.end) return false;
    return [day.start, day.end - 1].some((time) => known.days.includes(new Date(time).toISOString().slice(0, 10)));
  }

  private open(open: boolean): void {
    this.calendar.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    if (!open) return;
    this.month = this.day.start;
    this.draw();
    (
      this.calendar.querySelector<HTMLElement>("[aria-current]") ??
      this.calendar.querySelector<HTMLElement>(".date:enabled")
    )?.focus();
  }

  private draw(): void {
    const first = new Date(this.month);
    const [year, month] = [first.getFullYear(), first.getMonth()];
    const blanks = (new Date(year, month, 1).getDay() + 7 - MONDAY) % 7;
    const names = [1, 2, 3, 4, 5, 6, 7].map((day) =>
      element("span", { class: "weekday" }, WEEKDAY.format(new Date(2024, 0, day))),
    );
    const dates = Array.from({ length: new Date(year, month + 1, 0).getDate() }, (_, index) =>
      this.date(new Date(year, month, index + 1)),
    );
    dates[0]!.style.gridColumnStart = String(blanks + 1);
    this.calendar.replaceChildren(
      element(
        "div",
        { class: "month" },
        iconButton(ChevronLeft, "Previous month", () => this.turn(-1), "act"),
        element("strong", { "aria-live": "polite" }, MONTH.format(first)),
        iconButton(ChevronRight, "Next month", () => this.turn(1), "act"),
      ),
      element("div", { class: "dates" }, ...names, ...dates),
    );
  }

  private date(date: Date): HTMLElement {
    const day = dayOf(date.getTime());
    const recorded = this.recorded(day);
    const node = element(
      "button",
      {
        type: "button",
        class: "date",
        disabled: !recorded,
        "aria-label": `${dayName(day.start)}${recorded ? ", recorded" : ""}`,
        click: () => this.choose(day),
      },
      String(date.getDate()),
    );
    if (day.start === this.day.start) node.setAttribute("aria-current", "date");
    return node;
  }

  private choose(day: Span): void {
    this.open(false);
    this.opener.focus();
    this.onChoose(day);
  }

  private turn(months: number): void {
    const at = new Date(this.month);
    this.month = new Date(at.getFullYear(), at.getMonth() + months, 1).getTime();
    this.draw();
    this.calendar.querySelectorAll<HTMLElement>(".month .act")[months > 0 ? 1 : 0]?.focus();
  }

  private key(event: KeyboardEvent): void {
    if (this.calendar.hidden) return;
    event.stopPropagation();
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 };
    const step = steps[event.key];
    if (event.key === "Escape") {
      event.preventDefault();
      this.open(false);
      this.opener.focus();
    } else if (step !== undefined) {
      event.preventDefault();
      const dates = [...this.calendar.querySelectorAll<HTMLButtonElement>(".date")];
      let index = dates.indexOf(document.activeElement as HTMLButtonElement) + step;
      while (dates[index]?.disabled) index += Math.sign(step);
      dates[index]?.focus();
    }
  }
}
