// The views of the page: one on the chosen room, or one on each widest room of the visitor that has cameras.

import { viewedRooms } from "../access/grants.js";
import type { Session, Surroundings } from "../session/session.js";
import { View } from "./view.js";

// Each view is a connection. With more top-level rooms, the page asks to choose one.
const MAX_VIEWS = 12;
const CLOSE_EMPTY_AFTER_MS = 20_000;
const LEAVE_AFTER_MS = 250;

export class ViewSet {
  room: string | null = null;

  private readonly views = new Map<string, View>();
  private readonly emptySince = new Map<string, number>();

  constructor(
    private readonly around: Surroundings,
    private readonly onChange: () => void,
  ) {}

  list(): View[] {
    return [...this.views.values()].sort((a, b) => (a.room < b.room ? -1 : 1));
  }

  choose(room: string | null): void {
    if (room === this.room && this.views.size > 0) return;
    this.room = room;
    const left = this.list();
    this.views.clear();
    this.emptySince.clear();
    this.update();
    // Later, so that new views start first: closing a connection takes a browser a while.
    setTimeout(() => left.forEach((view) => view.close()), LEAVE_AFTER_MS);
  }

  /** Ends all views. */
  close(): void {
    for (const view of this.list()) this.leave(view);
  }

  /** Opens, grows and closes views as the directory requires. Call it after each change. */
  update(): void {
    const wanted = this.wantedRooms();
    for (const view of this.list()) {
      if (!wanted.includes(view.room) && this.emptyForLong(view.room)) this.leave(view);
    }
    for (const room of wanted) this.open(room);
    this.onChange();
  }

  /** Returns the number of live cameras here that no window shows. */
  hidden(): number {
    const { directory } = this.around;
    const known = this.rooms().reduce((sum, room) => sum + directory.cameras(room), 0);
    return Math.max(0, known - this.list().reduce((sum, view) => sum + view.windows.length, 0));
  }

  sessions(): Session[] {
    return this.list().map((view) => view.session);
  }

  private wantedRooms(): string[] {
    return this.rooms().slice(0, MAX_VIEWS);
  }

  private rooms(): string[] {
    return viewedRooms(this.around.grants, this.room, this.around.directory.liveRooms());
  }

  private open(room: string): void {
    this.emptySince.delete(room);
    const cameras = this.around.directory.cameras(room);
    let view = this.views.get(room);
    if (!view) {
      view = new View(this.around, room, cameras, this.onChange);
      this.views.set(room, view);
    }
    view.grow(cameras);
    view.session.update();
  }

  private emptyForLong(room: string): boolean {
    const since = this.emptySince.get(room) ?? performance.now();
    this.emptySince.set(room, since);
    return performance.now() - since > CLOSE_EMPTY_AFTER_MS;
  }

  private leave(view: View): void {
    view.close();
    this.views.delete(view.room);
    this.emptySince.delete(view.room);
  }
}
