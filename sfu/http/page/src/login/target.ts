// The address of the login page: the one-time token in it, the reason it was opened for, and where to go next. Pure.

const ONCE = "once";
const DOCUMENT = "login";

/** Why the page was opened: the login has ended, or the person has logged out. */
export type Why = "ended" | "left";

/** Returns the token of a one-time link (`login#once=...`); null without one. */
export function onceOf(address: URL): string | null {
  return new URLSearchParams(address.hash.slice(1)).get(ONCE) || null;
}

export function whyOf(address: URL): Why | null {
  const why = address.searchParams.get("why");
  return why === "ended" || why === "left" ? why : null;
}

/**
 * Returns the URL to go to after the login: that of `?next=`, if it is below our root; else the wall. A server that sends
 * a browser from the wall to here does not see the fragment, but browsers keep it.
 */
export function targetOf(address: URL): string {
  const root = new URL("./", address);
  const asked = address.searchParams.get("next");
  if (asked === null) return root.href + (onceOf(address) ? "" : address.hash);
  return below(asked, root) ?? root.href;
}

/** Returns the query of the login page for a page at `here`; `root` is the root of our pages. */
export function loginQuery(here: URL, root: URL, why: Why | null): string {
  const next = here.pathname.slice(root.pathname.length) + here.search + here.hash;
  return `?${new URLSearchParams({ ...(why && { why }), next: `./${next}` })}`;
}

/** Returns the whole URL (a path alone could begin with `//`); null outside of `root`, and for the login page itself. */
function below(asked: string, root: URL): string | null {
  let url: URL;
  try {
    url = new URL(asked, root);
  } catch {
    return null;
  }
  if (url.origin !== root.origin || !url.pathname.startsWith(root.pathname)) return null;
  return url.pathname === root.pathname + DOCUMENT ? null : url.href;
}
