// The one connection to the broker: comes back by itself, remembers subscriptions, forgets what it could not send.

import mqtt, { type MqttClient } from "mqtt";

export type BrokerStatus = "connecting" | "connected" | "away" | "refused";

export interface Login {
  username: string;
  password: string;
}

export type Handler = (topic: string, payload: Uint8Array) => void;

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;
const CONNECT_TIMEOUT_MS = 10_000;
const ANSWER_WITHIN_MS = 1_000;
// MQTT 3.1.1 section 3.2.2.3 (4, 5) and MQTT 5 section 3.2.2.2 (134, 135): who we are is the problem.
const LOGIN_REFUSALS = new Set([4, 5, 134, 135]);

/**
 * Each attempt is a fresh client: nothing stale is ever sent again. There is no last will: media outlives the broker,
 * and a will would end every picture when a broker restarts. Leaving pages say bye themselves.
 */
export class Broker {
  status: BrokerStatus = "connecting";
  onStatus: (status: BrokerStatus) => void = () => undefined;

  private client: MqttClient | null = null;
  private readonly handlers = new Map<string, Handler>();
  private failures = 0;
  private timer = 0;

  constructor(
    private readonly url: string,
    private login: Login | null = null,
  ) {
    // A phone that wakes up or comes to another network should not sit out a back-off.
    onNetworkChange(() => this.prove());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.hurry());
  }

  connect(login: Login | null = this.login): void {
    this.login = login;
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
      ...(login ?? {}),
    });
    this.client = client;
    client.on("connect", () => this.client === client && this.connected(client));
    client.on("message", (topic, payload) => this.client === client && this.receive(topic, payload));
    client.on("error", (error) => this.client === client && this.failed(error));
    client.on("close", () => this.client === client && this.retry());
  }

  /** Messages of topics that match `filter` go to `handler`, now and after each reconnection. */
  subscribe(filter: string, handler: Handler): void {
    this.handlers.set(filter, handler);
    if (this.status === "connected") this.client?.subscribe(filter, { qos: 1 });
  }

  unsubscribe(filter: string): void {
    this.handlers.delete(filter);
    if (this.status === "connected") this.client?.unsubscribe(filter);
  }

  /** False: not connected, and the message is gone. */
  publish(topic: string, payload: string): boolean {
    if (this.status !== "connected" || !this.client) return false;
    this.client.publish(topic, payload, { qos: 1 });
    return true;
  }

  /** Connects anew unless the broker is heard at once: the way to it may have died together with another. */
  prove(): void {
    const { client } = this;
    if (!client || this.status !== "connected") {
      this.hurry();
      return;
    }
    const timer = window.setTimeout(() => this.client === client && this.connect(), ANSWER_WITHIN_MS);
    client.once("packetreceive", () => clearTimeout(timer));
    client.sendPing();
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
    if (typeof error.code === "number" && LOGIN_REFUSALS.has(error.code)) {
      this.drop();
      this.setStatus("refused");
    } else {
      this.retry();
    }
  }

  private retry(): void {
    this.drop();
    this.failures += 1;
    this.setStatus("away");
    const ceiling = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures);
    this.timer = window.setTimeout(() => this.connect(), Math.random() * ceiling);
  }

  private hurry(): void {
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

export function onNetworkChange(changed: () => void): void {
  addEventListener("online", changed);
  const { connection } = navigator as { connection?: NetworkInformation };
  let before = connection?.type;
  // It speaks of the network's speed, too, and often.
  connection?.addEventListener("change", () => {
    const { type } = connection;
    if (type === before) return;
    before = type;
    if (type !== "none") changed();
  });
}

/** A random UUID (RFC 9562 section 5.4), fit for a peer id and for a session. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
