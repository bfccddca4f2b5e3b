// Puts the page together: broker, directory, views, wall, header; and passes changes on from one to the next.

import { exposeHooks } from "./hooks.js";
import { Broker, onNetworkChange } from "./net/broker.js";
import { Directory } from "./net/directory.js";
import { Publishing } from "./publish/publishing.js";
import { Archive } from "./recordings/archive.js";
import type { Session } from "./session/session.js";
import { Spare } from "./session/spare.js";
import { type Config, embedded, fetchConfig, publishOfAddress, roomOfAddress } from "./ui/config.js";
import { element } from "./ui/dom.js";
import { Empty } from "./ui/empty.js";
import { Header } from "./ui/header.js";
import { LoginDialog, rememberedLogin } from "./ui/login.js";
import { deviceErrorText, statusText } from "./ui/words.js";
import { ViewSet } from "./wall/viewset.js";
import { Wall } from "./wall/wall.js";

/** True in bundles that browser tests run; esbuild removes the hooks from all others. */
declare const HOOKS: boolean;

const TICK_MS = 5_000;
// What the broker retained comes right after a connection: the first offer waits for it, and fits all cameras.
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
  private drawing = 0;
  private readonly more = element("p", { class: "more", role: "status", hidden: true });

  constructor(config: Config) {
    this.broker = new Broker(config.websocket, rememberedLogin());
    this.directory = new Directory(this.broker, config.base);
    const spare = new Spare(!embedded() && config.iceServers.length === 0);
    const around = { ...config, broker: this.broker, directory: this.directory, spare };
    this.views = new ViewSet(around);
    this.publishing = embedded() ? null : new Publishing(around, this.directory);
    const goLive = (): void => this.publishing?.open(this.views.room);
    this.archive = this.openArchive(config);
    this.wall = new Wall(embedded() ? 0 : undefined, (room) => this.directory.recording(room), this.archive);
    const recordings = this.archive && ((): void => this.archive?.open(null));
    this.header = embedded() ? null : new Header(goLive, recordings);
    this.empty = new Empty(embedded() ? null : goLive);
  }

  start(): void {
    const login = new LoginDialog((given) => this.broker.connect(given));
    document.body.append(
      ...[this.header?.node, this.wall.node, this.empty.node, this.more].filter((node) => node != null),
    );
    document.body.append(login.node);
    if (this.publishing) document.body.append(this.publishing.dialog, this.publishing.panel);
    this.connectParts(login);
    this.listen();
    this.broker.connect();
    this.views.choose(roomOfAddress());
    this.publishAsAsked();
    this.archive?.follow();
    const { wall, views, publishing, archive } = this;
    if (HOOKS) exposeHooks({ wall, views, publishing, archive, health: () => this.health() });
  }

  /** The bare player has none: it is live pictures in a frame of somebody else's. */
  private openArchive({ base, recordings }: Config): Archive | null {
    if (!recordings || embedded()) return null;
    const archive = new Archive({
      recording: (room) => this.directory.recording(room),
      record: (room, on) => this.broker.publish(`${base}/${room}/recordings/set`, on ? "ON" : "OFF"),
    });
    archive.onLive = ({ room, peer }) => this.wall.present(room, peer);
    return archive;
  }

  private connectParts(login: LoginDialog): void {
    this.broker.onStatus = (status) => {
      if (status === "refused") login.ask();
      if (status === "connected") {
        this.sessions().forEach((session) => session.repeat());
        setTimeout(() => this.update(), SETTLE_MS);
      }
      this.describe();
    };
    this.directory.onChange = () => this.update();
    this.views.onChange = () => this.draw();
    this.wall.onChange = () => this.describe();
    if (this.publishing) this.publishing.onChange = () => this.describe();
    setInterval(() => this.update(), TICK_MS);
  }

  /** Once for all that changed, and after what is to be sent: a tile takes a browser longer than a message. */
  private draw(): void {
    this.drawing ||= window.setTimeout(() => {
      this.drawing = 0;
      this.wall.update(this.views.list());
    }, DRAW_AFTER_MS);
  }

  private listen(): void {
    // A browser that takes a new `#room` for a step in its history says so at once, the other event waits its turn.
    for (const name of ["popstate", "hashchange"]) addEventListener(name, () => this.views.choose(roomOfAddress()));
    addEventListener("pagehide", () => this.sessions().forEach((session) => session.goodbye()));
    onNetworkChange(() => this.sessions().forEach((session) => session.moved()));
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
    const words = statusText(
      link,
      shown.some((tile) => tile.state === "live"),
    );
    const refusal = this.views.list().find((view) => view.session.phase === "refused")?.session.error ?? null;
    this.empty.update({ hidden: shown.length > 0, room: this.views.room, link, refusal });
    const hidden = this.views.hidden();
    this.more.hidden = hidden === 0;
    this.more.textContent = `${hidden} more ${hidden === 1 ? "camera is" : "cameras are"} live. Choose a room to see more.`;
    if (!this.header) return;
    this.header.health = words;
    this.header.onAir = this.publishing?.publisher != null;
    this.header.rooms(this.views.room, this.directory.liveRooms());
  }

  private publishAsAsked(): void {
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
