// The dialog that makes this browser a camera, and the panel that is shown while it is one.

import { Square } from "lucide";
import { cameraId } from "../access/grants.js";
import { validPeer, validRoom } from "../net/rooms.js";
import type { Surroundings } from "../session/session.js";
import type { PublishRequest } from "../ui/config.js";
import { element } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { codecName, deviceErrorText, errorText, INSECURE } from "../ui/words.js";
import { devicesAvailable, openDevices, Publisher, sendableCodecs, suggestedPeer } from "./publisher.js";

export class Publishing {
  readonly dialog: HTMLDialogElement;
  readonly panel = element("aside", { class: "onair", "aria-label": "Publishing from this browser", hidden: true });
  publisher: Publisher | null = null;

  private readonly room = element("input", {
    name: "room",
    list: "known-rooms",
    required: true,
    autocapitalize: "off",
  });
  private readonly known = element("datalist", { id: "known-rooms" });
  private readonly peer = element("input", { name: "peer", required: true, autocapitalize: "off" });
  private readonly named = element("small", {});
  private readonly codec = element("select", { name: "codec" }, element("option", { value: "" }, "Automatic"));
  private readonly facing = element(
    "select",
    { name: "facing" },
    element("option", { value: "environment" }, "Back"),
    element("option", { value: "user" }, "Front"),
  );
  private readonly audio = element("input", { name: "audio", type: "checkbox", checked: true });
  private readonly problem = element("p", { class: "problem", role: "alert" });
  private readonly start = element("button", { type: "submit", class: "primary" }, "Go live");
  private readonly preview = element("video", { autoplay: true, playsinline: true });
  private readonly status = element("span", { class: "words", role: "status" });

  constructor(
    private readonly around: Surroundings,
    private readonly onChange: () => void,
  ) {
    this.preview.muted = true;
    this.peer.value = suggestedPeer();
    this.peer.addEventListener("input", () => this.name());
    this.name();
    this.codec.append(...sendableCodecs().map((name) => element("option", { value: name }, codecName(name))));
    this.dialog = element("dialog", { "aria-label": "Go live from this browser" }, this.form());
    const stop = element("button", { type: "button", class: "danger", click: () => this.stop() }, icon(Square), "Stop");
    this.panel.append(this.preview, element("div", { class: "line" }, this.status, stop));
  }

  open(room: string | null): void {
    this.room.value ||= room ?? "";
    this.known.replaceChildren(
      ...[...this.around.directory.rooms.keys()].map((name) => element("option", { value: name })),
    );
    this.problem.textContent = devicesAvailable() ? "" : INSECURE;
    this.start.disabled = !devicesAvailable();
    this.dialog.showModal();
  }

  /** Starts to publish. Rejects with the DOMException of getUserMedia, or an Error on an insecure page. */
  async publish(request: PublishRequest): Promise<void> {
    if (!devicesAvailable()) throw new Error(INSECURE);
    this.stop();
    const stream = await openDevices({ audio: request.audio, facing: this.facing.value });
    const peer = cameraId(this.around.grants, request.peer ?? this.peer.value);
    const publisher = new Publisher(this.around, { ...request, peer }, stream, () => this.draw());
    this.publisher = publisher;
    this.preview.srcObject = stream;
    this.draw();
  }

  stop(): void {
    this.publisher?.stop();
    this.draw();
  }

  /** Says under which name others see the camera, if that is another one than what is typed. */
  private name(): void {
    const typed = this.peer.value.trim();
    const id = cameraId(this.around.grants, typed);
    this.named.textContent = id === typed ? "" : `Others see it as ${id}.`;
  }

  private form(): HTMLFormElement {
    const cancel = element("button", { type: "button", click: () => this.dialog.close() }, "Cancel");
    // Phones have a front and a back camera; on other devices the choice would have no effect.
    const lens = matchMedia("(pointer: coarse)").matches ? [element("label", {}, "Camera", this.facing)] : [];
    return element(
      "form",
      { submit: (event: Event) => this.submit(event) },
      element("h2", {}, "Go live from this browser"),
      element("p", {}, "Everyone who watches the room sees and hears this device."),
      element("label", {}, "Room", this.room, this.known),
      element("label", {}, "Camera name", this.peer, this.named),
      element("div", { class: "pair" }, ...lens, element("label", {}, "Codec", this.codec)),
      element("label", { class: "check" }, this.audio, "Microphone"),
      this.problem,
      element("div", { class: "actions" }, cancel, this.start),
    );
  }

  private submit(event: Event): void {
    event.preventDefault();
    const room = this.room.value.trim();
    const peer = this.peer.value.trim();
    this.problem.textContent = invalidText(room, cameraId(this.around.grants, peer));
    if (this.problem.textContent) return;
    this.start.disabled = true;
    this.publish({ room, peer, codec: this.codec.value || null, audio: this.audio.checked })
      .then(() => this.dialog.close())
      .catch((error: unknown) => (this.problem.textContent = deviceErrorText(error)))
      .finally(() => (this.start.disabled = false));
  }

  private draw(): void {
    const { publisher } = this;
    if (publisher?.session.phase === "closed") {
      this.publisher = null;
      this.preview.srcObject = null;
    }
    this.panel.hidden = !this.publisher;
    if (this.publisher) this.describe(this.publisher);
    this.onChange();
  }

  private describe({ session, request }: Publisher): void {
    this.panel.dataset.phase = session.phase;
    const text = {
      waiting: "Waiting for the server",
      connecting: "Connecting",
      connected: "Live",
      refused: session.error ? errorText(session.error) : "Refused",
      closed: "",
    }[session.phase];
    this.status.textContent = session.phase === "connected" ? `Live: ${request.room} / ${request.peer}` : text;
  }
}

function invalidText(room: string, peer: string): string {
  if (!validRoom(room)) return "A room has one to four parts of letters, digits, - and _, for example site/gate.";
  if (!validPeer(peer)) return "A camera name has up to 64 letters, digits, - and _.";
  return "";
}
