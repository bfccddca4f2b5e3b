// The page: makes its parts, and passes changes from one to the next.

import { knows, may } from "./access/grants.js";
import { Keeper } from "./access/keeper.js";
import { reload, takeToken, tokenLogin } from "./access/token.js";
import { logOut, showLoggedOut, toLogin } from "./access/ways.js";
import { exposeHooks } from "./hooks.js";
import { Broker, type BrokerStatus, onNetworkChange } from "./net/broker.js";
import { Directory, type Trouble } from "./net/directory.js";
import { contains } from "./net/rooms.js";
import { Publishing } from "./publish/publishing.js";
import { Archive } from "./recordings/archive.js";
import type { Session, Surroundings } from "./session/session.js";
import { Spare } from "./session/spare.js";
import { type Config, embedded, fetchConfig, LoggedOut, publishOfAddress, roomOfAddress } from "./ui/config.js";
import { element } from "./ui/dom.js";
import { Empty } from "./ui/empty.js";
import { Header } from "./ui/header.js";
import { deviceErrorText, statusText, troubleText } from "./ui/words.js";
import type { Tile } from "./wall/tile.js";
import { ViewSet } from "./wall/viewset.js";
import { Wall } from "./wall/wall.js";

/** True in bundles that browser tests run; esbuild removes the hooks from all others. */
declare const HOOKS: boolean;

const TICK_MS = 5_000;
// Retained messages come right after a connection. The first offer waits for them, so that it has room for all cameras.
const SETTLE_MS = 300;
const DRAW_AFTER_MS = 4;

class App {
  private readonly broker: Broker;
  private readonly directory: Directory;
  private readonly views: ViewSet;
  private readonly wall: Wall;
  private readonly archive: Archive | null;
  private readonly publishing: Publishing | null;
  private readonly header: Header | null;
  private readonly empty: Empty;
  private readonly around: Surroundings;
  private readonly keeper: Keeper;
  private again = false;
  private drawing = 0;
  private ticking = 0;
  private readonly more = element("p", { class: "more", role: "status", hidden: true });

  constructor(config: Config) {
    this.keeper = new Keeper(config, {
      renewed: (fresh, again) => this.renewed(fresh, again),
      changed: () => reload(),
      ended: () => this.ended(),
    });
    const doubt = (): void => this.keeper.doubt();
    this.broker = new Broker(config.websocket, tokenLogin(), (status) => this.brokerChanged(status), doubt);
    this.directory = new Directory(this.broker, config.base, () => this.update());
    const spare = new Spare(!embedded() && config.iceServers.length === 0);
    this.around = { ...config, broker: this.broker, directory: this.directory, spare, onUnauthorized: doubt };
    this.views = new ViewSet(this.around, () => this.draw());
    const { grants } = config;
    this.publishing = embedded() || !may(grants, "publish") ? null : new Publishing(this.around, () => this.describe());
    const goLive = this.publishing && ((): void => this.publishing?.open(this.views.room));
    const archived = config.recordings && may(grants, "playback") && !embedded();
    this.archive = archived ? this.newArchive(config) : null;
    const about = {
      recording: (room: string) => this.directory.recording(room),
      problem: (room: string, peer: string) =>
        this.directory.troubles(room).find((it) => it.room === room && it.peer === peer)?.problem ?? null,
    };
    this.wall = new Wall(about, this.archive, () => this.describe(), embedded() ? 0 : undefined);
    const recordings = this.archive && ((): void => this.archive?.open(this.wall.chosen));
    const account = grants.on ? { user: grants.user, logOut: () => void this.leave() } : null;
    this.header = embedded() ? null : new Header(goLive, recordings, account);
    this.empty = new Empty({ host: location.hostname, websocket: config.websocket, on: grants.on }, goLive);
  }

  start(): void {
    document.body.append(
      ...[this.header?.node, this.wall.node, this.empty.node, this.more].filter((node) => node != null),
    );
    if (this.publishing) document.body.append(this.publishing.dialog, this.publishing.panel);
    this.listen();
    this.ticking = window.setInterval(() => this.update(), TICK_MS);
    this.broker.connect();
    this.keeper.start();
    this.views.choose(roomOfAddress());
    this.publishIfRequested();
    this.archive?.follow();
    const { wall, views, publishing, archive } = this;
    const asked = { health: () => this.health(), renew: () => this.keeper.check() };
    if (HOOKS) exposeHooks({ wall, views, publishing, archive, ...asked });
  }

  private newArchive({ base, grants }: Config): Archive {
    return new Archive({
      mayRecord: may(grants, "record"),
      recording: (room) => this.directory.recording(room),
      record: (room, on) => this.broker.publish(`${base}/${room}/recordings/set`, on ? "ON" : "OFF"),
      showLive: ({ room, peer }) => this.wall.present(room, peer),
    });
  }

  private brokerChanged(status: BrokerStatus): void {
    if (status === "away") this.keeper.check();
    if (status === "connected") {
      this.sessions().forEach((session) => (this.again ? session.renegotiate() : session.repeat()));
      this.again = false;
      setTimeout(() => this.update(), SETTLE_MS);
    }
    this.describe();
  }

  /** Shows the new login to the server: by a new connection, then by an offer in each session, whose media goes on. */
  private renewed({ iceServers }: Config, again: boolean): void {
    this.around.iceServers = iceServers;
    if (!again) return;
    this.again = true;
    this.broker.connect();
  }

  private async leave(): Promise<void> {
    // The server ends the connection at once: that must not be taken for a login that has ended by itself.
    this.keeper.stop();
    if (!(await logOut())) this.keeper.start();
  }

  private ended(): void {
    if (!embedded()) {
      toLogin("ended");
      return;
    }
    clearInterval(this.ticking);
    this.views.close();
    this.broker.close();
    showLoggedOut(true);
  }

  /** Draws soon: once for several changes, and after messages are sent, since drawing takes longer. */
  private draw(): void {
    this.drawing ||= window.setTimeout(() => {
      this.drawing = 0;
      this.wall.update(this.views.list());
    }, DRAW_AFTER_MS);
  }

  private listen(): void {
    // After a step in the history, popstate comes at once and hashchange later.
    for (const name of ["popstate", "hashchange"]) addEventListener(name, () => this.views.choose(roomOfAddress()));
    addEventListener("pagehide", () => this.sessions().forEach((session) => session.goodbye()));
    onNetworkChange(() => this.sessions().forEach((session) => session.restartIce()));
    addEventListener("pageshow", (event) => event.persisted && reload());
  }

  private sessions(): Session[] {
    const own = this.publishing?.publisher?.session;
    return [...this.views.sessions(), ...(own ? [own] : [])];
  }

  private update(): void {
    this.views.update();
    this.publishing?.publisher?.session.update();
    this.describe();
  }

  private health(): { broker: string; serverOnline: boolean | null; boot: string | null } {
    return { broker: this.broker.status, serverOnline: this.directory.serverOnline, boot: this.directory.boot };
  }

  private describe(): void {
    const shown = this.wall.shown();
    const link = { broker: this.broker.status, serverOnline: this.directory.serverOnline };
    const status = statusText(
      link,
      shown.some((tile) => tile.state === "live"),
    );
    const refusal = this.views.list().find((view) => view.session.phase === "refused")?.session.error ?? null;
    const { room } = this.views;
    this.empty.update({ hidden: shown.length > 0, room, link, refusal, foreign: this.foreign(room) });
    this.describeHidden(shown);
    if (!this.header) return;
    this.header.health = status;
    this.header.publishing = this.publishing?.publisher != null;
    this.header.rooms(this.views.room, this.directory.liveRooms());
  }

  /** True if the visitor may see nothing of `room`. A room that is only above one of the visitor's is not foreign. */
  private foreign(room: string | null): boolean {
    const { grants } = this.around;
    return room !== null && !knows(grants, room) && !grants.rooms.some((own) => contains(room, own));
  }

  /** Says which cameras are on no tile, and why. */
  private describeHidden(shown: Tile[]): void {
    const has = ({ room, peer }: Trouble): boolean =>
      shown.some(({ window: { source } }) => source?.room === room && source.peer === peer);
    const troubles = this.directory.troubles(this.views.room).filter((trouble) => !has(trouble));
    const hidden = Math.max(0, this.views.hidden() - troubles.length);
    const cameras = hidden === 1 ? "camera is" : "cameras are";
    const more = hidden > 0 ? [`${hidden} more ${cameras} live. Choose a room to see more.`] : [];
    const text = [troubleText(troubles), ...more].filter(Boolean).join(" · ");
    this.more.hidden = text === "";
    if (this.more.textContent !== text) this.more.textContent = text;
  }

  private publishIfRequested(): void {
    const request = publishOfAddress();
    if (!request || !this.publishing) return;
    this.publishing.publish(request).catch((error: unknown) => console.error(deviceErrorText(error), error));
  }
}

async function main(): Promise<void> {
  if (embedded()) takeToken();
  try {
    new App(await fetchConfig()).start();
  } catch (error) {
    if (error instanceof LoggedOut) {
      if (embedded()) showLoggedOut(false);
      else toLogin(null);
      return;
    }
    console.error(error);
    document.body.replaceChildren(
      element("p", { class: "fatal", role: "alert" }, "The server does not respond. Trying again."),
    );
    setTimeout(() => reload(), 5_000);
  }
}

void main();
