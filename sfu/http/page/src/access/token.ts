// The token of an embedded page: taken out of the address, kept in memory, sent with requests.

const FIELD = "token";

let token: string | null = null;

/** Takes the token of `#token=...` out of the address, where people and programs would copy it from. */
export function takeToken(): void {
  const found = new URLSearchParams(location.hash.slice(1)).get(FIELD);
  if (!found) return;
  token = found;
  history.replaceState(history.state, "", location.pathname + location.search);
}

export function hasToken(): boolean {
  return token !== null;
}

/** Returns the headers that show the token to the server; none without a token: then the cookie counts. */
export function tokenHeaders(): Record<string, string> {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

/** Returns the login of the MQTT connection; null without a token. */
export function tokenLogin(): { username: string; password: string } | null {
  return token === null ? null : { username: FIELD, password: token };
}

/** Loads the page again, with its token: the new page takes it out of the address at once. */
export function reload(): void {
  if (token !== null) history.replaceState(history.state, "", `#${new URLSearchParams({ [FIELD]: token })}`);
  location.reload();
}
