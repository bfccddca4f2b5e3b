// The page: makes its parts, and passes changes from one to the next.

import { exposeHooks } from "./hooks.js";
import { Broker, type BrokerStatus, onNetworkChange } from "./net/broker.js";
import { Directory, type Trouble } from "./net/directory.js";
import { Publishing } from "./publish/publishing.js";
import { Archive } from "./recordings/archive.js";
import type { Session } from "./session/session.js";
import { Spare } from "./session/spare.js";
import { type Config, embedded, fetchConfig, publishOfAddress, roomOfAddress } from "./ui/config.js";
import { element } from "./ui/dom.js";
import { Empty } from "./ui/empty.js";
import { Header } from "./ui/header.js";
import { LoginDialog, rememberedLogin } from "./ui/login.js";
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
  private readonly login: LoginDialog;
  private drawing = 0;
  private readonly more = element("p", { class: "more", role: "status", hidden: true });

  constructor(config: Config) {
    this.broker = new Broker(config.websocket, rememberedLogin(), (status) => this.brokerChanged(status));
    this.directory = new Directory(this.broker, config.base, () => this.update());
    const spare = new Spare(!embedded() && config.iceServers.length === 0);
    const around = { ...config, broker: this.broker, directory: this.directory, spare };
    this.views = new ViewSet(around, () => this.draw());
    this.publishing = embedded() ? null : new Publishing(around, () => this.describe());
    const goLive = (): void => this.publishing?.open(this.views.room);
    this.archive = config.recordings && !embedded() ? this.newArchive(config.base) : null;
    const about = {
      recording: (room: string) => this.directory.recording(room),
      problem: (room: string, peer: string) =>
        this.directory.troubles(room).find((it) => it.room === room && it.peer === peer)?.problem ?? null,
    };
    this.wall = new Wall(about, this.archive, () => this.describe(), embedded() ? 0 : undefined);
    const recordings = this.archive && ((): void => this.archive?.open(this.wall.chosen));
    this.header = embedded() ? null : new Header(goLive, recordings);
    this.empty = new Empty(config.websocket, embedded() ? null : goLive);
    this.login = new LoginDialog((login) => this.broker.connect(login));
  }

  start(): void {
    document.body.append(
      ...[this.header?.node, this.wall.node, this.empty.node, this.more].filter((node) => node != null),
    );
    document.body.append(this.login.node);
    if (this.publishing) document.body.append(this.publishing.dialog, this.publishing.panel);
    this.listen();
    setInterval(() => this.update(), TICK_MS);
    this.broker.connect();
    this.views.choose(roomOfAddress());
    this.publishIfRequested();
    this.archive?.follow();
    const { wall, views, publishing, archive } = this;
    if (HOOKS) exposeHooks({ wall, views, publishing, archive, health: () => this.health() });
  }

  private newArchive(base: string): Archive {
    return new Archive({
      recording: (room) => this.directory.recording(room),
      record: (room, on) => this.broker.publish(`${base}/${room}/recordings/set`, on ? "ON" : "OFF"),
      showLive: ({ room, peer }) => this.wall.present(room, peer),
    });
  }

  private brokerChanged(status: BrokerStatus): void {
    if (status === "refused") this.login.ask();
    if (status === "connected") {
      this.sessions().forEach((session) => session.repeat());
      setTimeout(() => this.update(), SETTLE_MS);
    }
    this.describe();
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
    addEventListener("pageshow", (event) => event.persisted && location.reload());
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
    this.empty.update({ hidden: shown.length > 0, room: this.views.room, link, refusal });
    this.describeHidden(shown);
    if (!this.header) return;
    this.header.health = status;
    this.header.publishing = this.publishing?.publisher != null;
    this.header.rooms(this.views.room, this.directory.liveRooms());
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
  try {
    new App(await fetchConfig()).start();
  } catch (error) {
    console.error(error);
    document.body.replaceChildren(
      element("p", { class: "fatal", role: "alert" }, "The server does not respond. Trying again."),
    );
    setTimeout(() => location.reload(), 5_000);
  }
}

void main();
