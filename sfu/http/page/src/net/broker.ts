// The one connection to the broker: reconnects, keeps subscriptions, drops messages that it cannot send.
// Also makes random ids and reports network changes, for the connection and for others.

import mqtt, { type MqttClient } from "mqtt";

export type BrokerStatus = "connecting" | "connected" | "away";

export interface Login {
  username: string;
  password: string;
}

export type Handler = (topic: string, payload: Uint8Array) => void;

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 15_000;
const CONNECT_TIMEOUT_MS = 10_000;
const PING_TIMEOUT_MS = 1_000;
// Bad user name or password, or not authorized: MQTT 3.1.1 section 3.2.2.3.
const LOGIN_REFUSALS = new Set([4, 5]);
// The server ends connections whose rights have ended with this WebSocket code (docs/protocol.md).
const RIGHTS_ENDED = 4401;

/**
 * Each attempt uses a new client, so that no outdated message is sent again. There is no last will: media does not need
 * the broker, and a will would end all video when a broker restarts. A page that closes sends bye itself.
 */
export class Broker {
  status: BrokerStatus = "connecting";

  private client: MqttClient | null = null;
  private readonly handlers = new Map<string, Handler>();
  private failures = 0;
  private closed = false;
  private timer = 0;

  constructor(
    private readonly url: string,
    private readonly login: Login | null,
    private readonly onStatus: (status: BrokerStatus) => void,
    private readonly onRefused: () => void,
  ) {
    // A phone that wakes up or changes its network must not wait for the back-off.
    onNetworkChange(() => this.check());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retryNow());
  }

  connect(): void {
    if (this.closed) return;
    clearTimeout(this.timer);
    this.drop();
    this.setStatus(this.failures === 0 ? "connecting" : "away");
    const client = mqtt.connect(this.url, {
      clientId: `page-${randomId().slice(0, 13)}`,
      protocolVersion: 4,
      clean: true,
      keepalive: 30,
      reconnectPeriod: 0,
      connectTimeout: CONNECT_TIMEOUT_MS,
      createWebsocket: (url: string, protocols: string[]) => this.socket(url, protocols, () => this.client === client),
      ...this.login,
    });
    this.client = client;
    client.on("connect", () => this.client === client && this.connected(client));
    client.on("message", (topic, payload) => this.client === client && this.receive(topic, payload));
    client.on("error", (error) => this.client === client && this.failed(error));
    client.on("close", () => this.client === client && this.retry());
  }

  /** Sends messages of topics that match `filter` to `handler`, now and after each reconnection. */
  subscribe(filter: string, handler: Handler): void {
    this.handlers.set(filter, handler);
    if (this.status === "connected") this.client?.subscribe(filter, { qos: 1 });
  }

  unsubscribe(filter: string): void {
    this.handlers.delete(filter);
    if (this.status === "connected") this.client?.unsubscribe(filter);
  }

  /** Publishes with QoS 1. Returns false if not connected; the message is then dropped. */
  publish(topic: string, payload: string): boolean {
    if (this.status !== "connected" || !this.client) return false;
    this.client.publish(topic, payload, { qos: 1 });
    return true;
  }

  /** Reconnects unless the broker answers a ping within a second: its path may be dead after a network change. */
  check(): void {
    const { client } = this;
    if (!client || this.status !== "connected") {
      this.retryNow();
      return;
    }
    const timer = window.setTimeout(() => this.client === client && this.connect(), PING_TIMEOUT_MS);
    client.once("packetreceive", () => clearTimeout(timer));
    client.sendPing();
  }

  /** Ends the connection for good. */
  close(): void {
    clearTimeout(this.timer);
    this.drop();
    this.closed = true;
  }

  private socket(url: string, protocols: string[], present: () => boolean): WebSocket {
    const socket = new WebSocket(url, protocols);
    socket.addEventListener("close", ({ code }) => code === RIGHTS_ENDED && present() && this.onRefused());
    return socket;
  }

  private connected(client: MqttClient): void {
    this.failures = 0;
    const filters = [...this.handlers.keys()];
    if (filters.length > 0) client.subscribe(filters, { qos: 1 });
    this.setStatus("connected");
  }

  private receive(topic: string, payload: Uint8Array): void {
    for (const [filter, handler] of this.handlers) {
      if (matches(filter, topic)) handler(topic, payload);
    }
  }

  private failed(error: Error & { code?: unknown }): void {
    if (typeof error.code === "number" && LOGIN_REFUSALS.has(error.code)) this.onRefused();
    this.retry();
  }

  private retry(): void {
    this.drop();
    this.failures += 1;
    this.setStatus("away");
    const ceiling = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures);
    this.timer = window.setTimeout(() => this.connect(), Math.random() * ceiling);
  }

  private retryNow(): void {
    if (this.status === "away") this.connect();
  }

  private drop(): void {
    const client = this.client;
    this.client = null;
    client?.on("error", () => undefined);
    client?.end(true);
  }

  private setStatus(status: BrokerStatus): void {
    if (this.status === status) return;
    this.status = status;
    this.onStatus(status);
  }
}

function matches(filter: string, topic: string): boolean {
  const wanted = filter.split("/");
  const levels = topic.split("/");
  return wanted.length === levels.length && wanted.every((level, index) => level === "+" || level === levels[index]);
}

interface NetworkInformation extends EventTarget {
  readonly type?: string;
}

/** Calls `changed` when this device has joined another network, as far as the browser reports it. */
export function onNetworkChange(changed: () => void): void {
  addEventListener("online", changed);
  const { connection } = navigator as { connection?: NetworkInformation };
  let before = connection?.type;
  // The event is also sent, often, for changes of the estimated speed.
  connection?.addEventListener("change", () => {
    const { type } = connection;
    if (type === before) return;
    before = type;
    if (type !== "none") changed();
  });
}

/** Returns a random UUID (RFC 9562 section 5.4). crypto.randomUUID is missing on pages without https. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
