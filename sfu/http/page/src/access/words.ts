// Texts about rights. Pure.

export interface EmbeddedSituation {
  /** The page came with a token. */
  token: boolean;
  /** The page has played before. */
  ended: boolean;
  /** The page is in a frame of another origin. */
  framed: boolean;
}

/** Returns the text of an embedded page that may not play; `link` "" for no link to the login. */
export function embeddedText({ token, ended, framed }: EmbeddedSituation): {
  text: string;
  detail: string;
  link: string;
} {
  if (token) {
    return {
      text: ended ? "The token of this page has ended" : "The token of this page is not valid",
      detail:
        "It has expired or was revoked, or it is for another room. sfu token makes another one on the server's machine.",
      link: "",
    };
  }
  const detail = framed
    ? "If it stays dark after that: browsers do not send your login to pages inside another site. Open the camera in a tab " +
      "of its own, or ask for an address with #token=..., which plays here."
    : "";
  return { text: ended ? "You were logged out" : "Log in to see this camera", detail, link: "Log in" };
}

export interface HintSituation {
  room: string | null;
  /** The host name in the page's address. */
  host: string;
  /** The URL of the server's door for MQTT. */
  websocket: string;
  /** True if the server asks for a login. */
  on: boolean;
}

/** Returns the command that publishes to this server from a shell, and a remark on it; "" for none. */
export function publishHint({ room, host, websocket, on }: HintSituation): { command: string; remark: string } {
  const name = room ?? "frontdoor";
  const from = `sfu publish ${name} SOURCE`;
  if (!on) return { command: `${from} --broker ${websocket}`, remark: "" };
  if (isHere(host)) return { command: from, remark: "" };
  return {
    command: `${from} --broker ${websocket} --token TOKEN`,
    remark: `On the server's machine, sfu token ${name} --role publish --sub NAME prints the token.`,
  };
}

/** True if the browser runs on the server's machine, as far as the address tells. */
function isHere(host: string): boolean {
  return host === "localhost" || host.endsWith(".localhost") || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

export function noRightsText(room: string): string {
  return `You may not see ${room}. Ask for rights there, or choose another room.`;
}
