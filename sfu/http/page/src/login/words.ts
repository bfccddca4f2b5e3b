// Texts of the login page. Pure.

import type { Why } from "./target.js";

export type Credentials = { user: string; password: string } | { token: string } | { once: string };

const REASONS: Record<Why, string> = {
  ended: "You were logged out: the login has expired, or somebody has changed or removed it. Log in again.",
  left: "You are logged out.",
};

export const AWAY = "The server does not respond. Is it running? Try again in a moment.";
export const NO_COOKIE = "This browser does not keep the login: allow cookies for this site, then try again.";
/** Texts and, at odd places, commands. */
export const HELP: readonly string[] = [
  "No login yet? On the server's machine, ",
  "sfu link",
  " prints a link that opens this page once, and ",
  "sfu user add NAME",
  " adds a user with a password.",
];

export function reasonText(why: Why | null): string {
  return why ? REASONS[why] : "";
}

/** Returns the text for an answer to a login. `wait`: the seconds of Retry-After. */
export function refusalText(tried: Credentials, status: number, wait: number | null): string {
  if (status === 429) return `Too many attempts. Try again in ${seconds(wait ?? 60)}.`;
  if (status !== 401) return `The server cannot log you in now (${status}). Try again in a moment.`;
  if ("once" in tried) {
    return (
      "This link was used before, or it is too old. Links work once. " +
      "Make another one: sfu link on the server's machine, or log in."
    );
  }
  if ("token" in tried) {
    return (
      "This token is not valid: it has expired, was revoked, is not complete, or is for something else. " +
      "sfu token on the server's machine makes another one."
    );
  }
  return "The user or the password is wrong. On the server's machine, sfu user passwd NAME changes a password.";
}

function seconds(count: number): string {
  return count === 1 ? "1 second" : `${count} seconds`;
}
