// The tiles of all views: their grid, the enlarged one, the one with sound, and the keys.

import type { Archive } from "../recordings/archive.js";
import type { Camera } from "../recordings/data/catalogue.js";
import { element } from "../ui/dom.js";
import { showKeys, WALL_KEYS } from "../ui/keys_help.js";
import { bestGrid } from "./grid.js";
import { compareCameras } from "./order.js";
import { Tile, type TileActions } from "./tile.js";
import type { View, WallWindow } from "./view.js";

const GAP_PX = 12;
const NARROWEST_PX = 260;

export class Wall {
  readonly node = element("main", { class: "wall", "aria-label": "Cameras" });

  private readonly tiles = new Map<WallWindow, Tile>();
  private enlarged: Tile | null = null;
  private columns = 1;

  /** `archive` null: tiles have no recordings menu, only the sign that says they are recorded. */
  constructor(
    private readonly about: Pick<TileActions, "recording" | "problem">,
    private readonly archive: Archive | null,
    private readonly onChange: () => void,
    private readonly gap = GAP_PX,
  ) {
    new ResizeObserver(() => this.arrange()).observe(this.node);
    document.addEventListener("keydown", (event) => this.key(event));
    setInterval(() => this.refresh(), 1_000);
  }

  /** Returns the tiles that show a camera, in the order of the screen. */
  shown(): Tile[] {
    return this.all()
      .filter((tile) => tile.state !== "empty")
      .sort((a, b) => compareCameras(a.window.source, b.window.source));
  }

  /** Returns the camera that is enlarged; null for none. */
  get chosen(): Camera | null {
    return this.enlarged?.window.source ?? null;
  }

  all(): Tile[] {
    const tiles = new Map([...this.tiles.values()].map((tile) => [tile.node as Element, tile]));
    return [...this.node.children].flatMap((node) => tiles.get(node) ?? []);
  }

  /** Adds a tile for each new window of `views`, in that order, and removes the tiles of all others. */
  update(views: View[]): void {
    const windows = views.flatMap((view) => view.windows);
    for (const [window, tile] of this.tiles) {
      if (!windows.includes(window)) this.remove(window, tile);
    }
    // A video element that is moved pauses: each tile is inserted at its final place.
    windows.forEach((window, index) => {
      if (this.tiles.has(window)) return;
      const tile = new Tile(
        window,
        { enlarge: (it) => this.toggle(it), sound: (it) => this.sound(it), ...this.about },
        this.archive,
      );
      this.tiles.set(window, tile);
      const after = windows.slice(index + 1).find((later) => this.tiles.has(later));
      this.node.insertBefore(tile.node, (after && this.tiles.get(after)?.node) ?? null);
    });
    this.refresh();
  }

  /** Enlarges the tile of a camera, if it is shown. */
  present(room: string, peer: string): void {
    const tile = this.shown().find(({ window: { source } }) => source?.room === room && source.peer === peer);
    if (tile) this.enlarge(tile);
  }

  private refresh(): void {
    const now = performance.now();
    for (const tile of this.tiles.values()) tile.update(now);
    // A video element that is moved pauses: `order` moves the tile on the screen alone.
    this.shown().forEach((tile, index) => (tile.node.style.order = String(index)));
    if (this.enlarged?.state === "empty") this.enlarge(null);
    this.arrange();
    this.onChange();
  }

  private remove(window: WallWindow, tile: Tile): void {
    if (this.enlarged === tile) this.enlarge(null);
    tile.video.srcObject = null;
    tile.node.remove();
    this.tiles.delete(window);
  }

  private arrange(): void {
    const count = this.shown().length;
    this.node.style.setProperty("--scroll-bar", `${this.node.offsetWidth - this.node.clientWidth}px`);
    const style = getComputedStyle(this.node);
    const width = this.node.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = this.node.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    if (count === 0 || width <= 0) return;
    const grid = bestGrid(count, { width, height, gap: this.gap, narrowest: NARROWEST_PX });
    this.columns = grid.columns;
    this.node.style.setProperty("--columns", String(grid.columns));
    this.node.style.setProperty("--tile-width", `${grid.width}px`);
    this.node.classList.toggle("single", count === 1);
  }

  private toggle(tile: Tile): void {
    this.enlarge(this.enlarged === tile ? null : tile);
  }

  private enlarge(tile: Tile | null): void {
    if (this.enlarged) this.enlarged.enlarged = false;
    this.enlarged = tile;
    if (tile) tile.enlarged = true;
    this.node.classList.toggle("focused", tile !== null);
    tile?.node.focus({ preventScroll: false });
  }

  /** Toggles the sound of `tile` and mutes all others. */
  private sound(tile: Tile): void {
    const on = tile.muted && tile.window.audio?.source;
    for (const other of this.tiles.values()) other.muted = !(on && other === tile);
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog")) return;
    const current = this.enlarged ?? this.shown().find((tile) => tile.node.contains(document.activeElement)) ?? null;
    if (this.act(event.key, current, target)) event.preventDefault();
  }

  private act(key: string, current: Tile | null, target: HTMLElement): boolean {
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: this.enlarged ? -1 : -this.columns,
      ArrowDown: this.enlarged ? 1 : this.columns,
    };
    const step = steps[key];
    if (step !== undefined) return this.move(current, step);
    if (key === "Escape" && this.enlarged) this.enlarge(null);
    else if (key === "Enter" && current && target.tagName !== "BUTTON") this.toggle(current);
    else if (key === "m" && (current ?? this.only())) this.sound((current ?? this.only())!);
    else if (key === "f" && (current ?? this.only())) (current ?? this.only())!.fullscreen();
    else if (key === "i") this.showStatistics(current);
    else if (key === "?") showKeys(WALL_KEYS);
    else return false;
    return true;
  }

  /** Shows or hides the statistics of `current`; of all tiles if null. */
  private showStatistics(current: Tile | null): void {
    const tiles = current ? [current] : this.shown();
    const open = !tiles.every((tile) => tile.statistics);
    for (const tile of tiles) tile.statistics = open;
  }

  private only(): Tile | null {
    const shown = this.shown();
    return shown.length === 1 ? shown[0]! : null;
  }

  private move(current: Tile | null, step: number): boolean {
    const shown = this.shown();
    if (shown.length === 0) return false;
    const from = current ? shown.indexOf(current) : -1;
    const to = from < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, from + step));
    const next = shown[to]!;
    if (this.enlarged) this.enlarge(next);
    else next.node.focus();
    return true;
  }
}
