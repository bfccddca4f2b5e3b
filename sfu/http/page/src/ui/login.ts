// Asks for the broker's user and password when it requires them; remembers them for this tab only.

import type { Login } from "../net/broker.js";
import { element } from "./dom.js";

const KEY = "sfu.login";

export function rememberedLogin(): Login | null {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Login | null;
  } catch {
    return null;
  }
}

export class LoginDialog {
  readonly node: HTMLDialogElement;
  private readonly username = element("input", { name: "username", autocomplete: "username", required: true });
  private readonly password = element("input", {
    name: "password",
    type: "password",
    autocomplete: "current-password",
  });
  private readonly note = element("p", { class: "problem", role: "alert" });

  constructor(onLogin: (login: Login) => void) {
    const form = element(
      "form",
      { method: "dialog" },
      element("h2", {}, "Sign in"),
      element("p", {}, "The MQTT broker of these cameras requires a login."),
      element("label", {}, "User", this.username),
      element("label", {}, "Password", this.password),
      this.note,
      element("div", { class: "actions" }, element("button", { type: "submit", class: "primary" }, "Sign in")),
    );
    form.addEventListener("submit", () => {
      const login = { username: this.username.value, password: this.password.value };
      remember(login);
      onLogin(login);
    });
    this.node = element("dialog", { "aria-label": "Sign in" }, form);
  }

  ask(): void {
    if (this.node.open) return;
    this.note.textContent = rememberedLogin() ? "The broker did not accept this user and password." : "";
    this.node.showModal();
  }
}

function remember(login: Login): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(login));
  } catch {
    // Without session storage, the dialog opens again after a reload.
  }
}
