// Whether the way to the server has died: told by how long nothing at all has come. Pure.

const MOST_MS = 6_000;
const MORE = 2;
// A way that came to life again by itself may do so again: it is given longer then.
const FORGOTTEN_AFTER_MS = 30_000;

export class Silence {
  private bytes = -1;
  private heardAt = 0;
  private looks = 0;
  private told = false;
  private toldAt = -Infinity;
  private patience: number;

  /** `patience`: ms without a byte that the server, even one whose cameras all stand still, never lets pass. */
  constructor(private readonly least: number) {
    this.patience = least;
  }

  /**
   * `bytes` that came so far, at `now` ms of any one clock; null while nothing is expected. `mending`: the server has
   * not answered yet to what was done about it. Returns true once for each silence that is too long.
   */
  look(bytes: number | null, mending: boolean, now: number): boolean {
    if (bytes === null || bytes !== this.bytes) {
      if (this.told && mending) this.patience = Math.min(MOST_MS, this.patience * MORE);
      this.bytes = bytes ?? -1;
      this.heardAt = now;
      this.looks = 0;
      this.told = false;
      return false;
    }
    this.looks += 1;
    if (now - this.toldAt > FORGOTTEN_AFTER_MS) this.patience = this.least;
    // A page that was asleep looks once before what came meanwhile is counted.
    if (this.told || this.looks < 2 || now - this.heardAt < this.patience) return false;
    this.told = true;
    this.toldAt = now;
    return true;
  }
}
