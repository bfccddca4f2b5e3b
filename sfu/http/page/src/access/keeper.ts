// Keeps the page logged in for months: asks for the configuration again and again, which renews the cookie, and whenever
// the server has refused something. Never decides what happens then.

import { type Config, fetchConfig, LoggedOut } from "../ui/config.js";
import { sameGrants } from "./grants.js";

const MOST_MS = 3_600_000;
const LEAST_MS = 30_000;
const AWAY_RETRY_MS = 60_000;
// A server that goes on to refuse is not asked at once again and again.
const AGAIN_AFTER_MS = 10_000;

export interface KeeperEvents {
  /** The rights go on; `again`: connections and sessions have to show them again. */
  renewed(config: Config, again: boolean): void;
  /** Somebody else is logged in now, or the rights are others. */
  changed(): void;
  ended(): void;
}

export class Keeper {
  private timer = 0;
  private asking = false;
  private stopped = false;
  private refused = false;
  private againAt = -Infinity;

  constructor(
    private config: Config,
    private readonly events: KeeperEvents,
  ) {}

  start(): void {
    this.stopped = false;
    this.plan(nextAfter(this.config.grants.expires, Date.now()));
  }

  stop(): void {
    clearTimeout(this.timer);
    this.stopped = true;
  }

  /** Asks now, since the server has refused something. */
  doubt(): void {
    this.refused = true;
    void this.ask();
  }

  /** Asks now, since the connection is gone: if it was because of the login, this tells. */
  check(): void {
    if (this.config.grants.on) void this.ask();
  }

  private plan(delay: number): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.ask(), delay);
  }

  private async ask(): Promise<void> {
    if (this.asking || this.stopped) return;
    this.asking = true;
    let delay = AWAY_RETRY_MS;
    try {
      const config = await fetchConfig();
      this.asking = false;
      if (this.stopped) return;
      this.take(config);
      delay = nextAfter(config.grants.expires, Date.now());
    } catch (error) {
      this.asking = false;
      if (this.stopped) return;
      if (error instanceof LoggedOut) {
        this.stop();
        this.events.ended();
        return;
      }
    }
    this.plan(delay);
  }

  private take(config: Config): void {
    const { grants } = this.config;
    const prolonged = (config.grants.expires ?? Infinity) > (grants.expires ?? Infinity);
    const again = prolonged || (this.refused && performance.now() - this.againAt > AGAIN_AFTER_MS);
    if (again) this.againAt = performance.now();
    this.refused = false;
    this.config = config;
    if (sameGrants(grants, config.grants)) this.events.renewed(config, again);
    else this.events.changed();
  }
}

/** Returns the time until the next renewal, in ms: an hour, less near the end. `expires` in s, `now` in ms, since 1970. */
export function nextAfter(expires: number | null, now: number): number {
  if (expires === null) return MOST_MS;
  return Math.min(MOST_MS, Math.max(LEAST_MS, (expires * 1000 - now) / 2));
}
