// The ways out of a page without rights: to the login page, and out of the login.

import { loginQuery, type Why } from "../login/target.js";
import { element } from "../ui/dom.js";
import { hasToken, reload } from "./token.js";
import { embeddedText } from "./words.js";

const TIMEOUT_MS = 10_000;

/** Goes to the login page, which comes back here. `why`: what has happened; null on a first visit. */
export function toLogin(why: Why | null): void {
  location.replace(loginUrl(why));
}

/** Ends the login of this browser, then shows the login page. Resolves to false if the login goes on. */
export async function logOut(): Promise<boolean> {
  const signal = AbortSignal.timeout?.(TIMEOUT_MS) ?? null;
  const answer = await fetch("logout", { method: "POST", signal }).catch(() => null);
  // Only the server can end it: without an answer, the cookie still opens the page.
  const left = answer?.ok === true || answer?.status === 401;
  if (left) location.replace(`login?${new URLSearchParams({ why: "left" })}`);
  else alert("The server does not respond, so you are still logged in. Try again in a moment.");
  return left;
}

/** Shows, instead of an embedded page, why it shows nothing; looks again when the person comes back to it. */
export function showLoggedOut(ended: boolean): void {
  const { text, detail, link } = embeddedText({ token: hasToken(), ended, framed: framedElsewhere() });
  // Not before: the first click into a frame gives it the focus, too.
  const clicked = (): void => addEventListener("focus", () => reload());
  const login = element("a", { href: loginUrl(null), target: "_blank", rel: "noopener", click: clicked }, link);
  document.body.replaceChildren(
    element(
      "section",
      { class: "empty", role: "alert" },
      element("h1", {}, text),
      ...(detail ? [element("p", {}, detail)] : []),
      ...(link ? [login] : []),
    ),
  );
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && reload());
}

function loginUrl(why: Why | null): string {
  const root = new URL("./", document.baseURI);
  return new URL(`login${loginQuery(new URL(location.href), root, why)}`, root).href;
}

/** True in a frame of a page of another origin. */
function framedElsewhere(): boolean {
  try {
    return window.top !== window && window.top?.location.origin !== location.origin;
  } catch {
    return true;
  }
}
