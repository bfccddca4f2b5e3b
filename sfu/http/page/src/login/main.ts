// The login page: by a one-time link, by user and password, or by a token. Goes on to the page that was asked for.

import { LogIn } from "lucide";
import { element } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { onceOf, targetOf, whyOf } from "./target.js";
import { AWAY, type Credentials, HELP, NO_COOKIE, reasonText, refusalText } from "./words.js";

const TIMEOUT_MS = 15_000;
const CONFIG = "config.json";

class LoginPage {
  readonly node: HTMLElement;
  private readonly target = targetOf(new URL(location.href));
  private readonly problem = element("p", { class: "problem", role: "alert" });
  private readonly onward = element("p", { hidden: true });
  private readonly user = element("input", {
    name: "username",
    autocomplete: "username",
    autocapitalize: "off",
    spellcheck: "false",
    required: true,
  });
  private readonly password = element("input", {
    name: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  private readonly token = element("input", {
    name: "token",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    required: true,
  });
  private readonly buttons: HTMLButtonElement[] = [];

  constructor() {
    const byPassword = this.form(
      "Log in",
      () => ({ user: this.user.value.trim(), password: this.password.value }),
      element("label", {}, "User", this.user),
      element("label", {}, "Password", this.password),
    );
    const byToken = this.form(
      "Log in with this token",
      () => ({ token: this.token.value.trim() }),
      element("label", {}, "Token", this.token),
    );
    this.node = element(
      "main",
      { class: "login", "aria-label": "Log in" },
      element("div", { class: "symbol" }, icon(LogIn)),
      element("h1", {}, "Log in to see the cameras"),
      this.problem,
      this.onward,
      byPassword,
      element("details", {}, element("summary", {}, "Log in with a token"), byToken),
      element("p", { class: "help" }, ...HELP.map((text, at) => (at % 2 ? element("code", {}, text) : text))),
    );
    this.say(reasonText(whyOf(new URL(location.href))));
  }

  /** Logs in by the one-time link of the address, if that is one. */
  async follow(): Promise<void> {
    const once = onceOf(new URL(location.href));
    if (!once) return;
    // A link in the history, or in a copied address, must not be tried again.
    history.replaceState(null, "", location.pathname + location.search);
    if (!(await this.login({ once }))) await this.offerPresentLogin();
  }

  private form(text: string, credentials: () => Credentials, ...fields: HTMLElement[]): HTMLFormElement {
    const button = element("button", { type: "submit", class: "primary" }, text);
    this.buttons.push(button);
    const submit = (event: Event): void => {
      event.preventDefault();
      void this.login(credentials());
    };
    return element("form", { method: "post", submit }, ...fields, button);
  }

  private async login(credentials: Credentials): Promise<boolean> {
    this.busy(true);
    this.say("");
    const problem = await attempt(credentials).catch(() => AWAY);
    this.busy(false);
    if (problem === null) location.replace(this.target);
    else this.say(problem);
    return problem === null;
  }

  /** A person who opens an old link may be logged in all the same. */
  private async offerPresentLogin(): Promise<void> {
    const config = await ask(CONFIG).then((answer) => (answer.ok ? answer.json() : null));
    if (!config) return;
    const name = config.user ? `Go on as ${config.user}` : "Go on";
    this.onward.replaceChildren(element("a", { href: this.target }, name));
    this.onward.hidden = false;
  }

  private busy(busy: boolean): void {
    for (const button of this.buttons) button.disabled = busy;
    this.node.setAttribute("aria-busy", String(busy));
  }

  private say(text: string): void {
    this.problem.textContent = text;
  }
}

/** Returns null after a login, else the text that says why there is none. Rejects without an answer. */
async function attempt(credentials: Credentials): Promise<string | null> {
  const answer = await ask("login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(credentials),
  });
  if (!answer.ok) return refusalText(credentials, answer.status, Number(answer.headers.get("Retry-After")) || null);
  return (await ask(CONFIG)).status === 401 ? NO_COOKIE : null;
}

function ask(path: string, options: RequestInit = {}): Promise<Response> {
  return fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout?.(TIMEOUT_MS) ?? null });
}

const page = new LoginPage();
document.body.append(page.node);
// Another link that is pasted into this tab changes the fragment alone.
addEventListener("hashchange", () => void page.follow());
void page.follow();
