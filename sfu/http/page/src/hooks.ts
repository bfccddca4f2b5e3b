// window.__sfu: lets browser tests read the page's state. Never used by the page itself, and only in bundles of an
// editable install (`build.py` defines HOOKS).

import { contains } from "./net/rooms.js";
import type { Publishing } from "./publish/publishing.js";
import type { Archive } from "./recordings/archive.js";
import type { Session } from "./session/session.js";
import type { Tile } from "./wall/tile.js";
import type { ViewSet } from "./wall/viewset.js";
import type { Wall } from "./wall/wall.js";

export interface Parts {
  wall: Wall;
  views: ViewSet;
  publishing: Publishing | null;
  archive: Archive | null;
  health(): unknown;
  /** Asks for the configuration now, as the page does each hour. */
  renew(): void;
}

export function exposeHooks({ wall, views, publishing, archive, health, renew }: Parts): void {
  const viewOf = (mid: string, room?: string) =>
    views.list().find((view) => contains(view.room, room ?? view.room) && view.windows.some((it) => it.mid === mid));
  Object.assign(window, {
    __sfu: {
      /** One entry for each window, empty ones too; times are ms of performance.now(). */
      stats: () => Promise.all(wall.all().map(tileStats)),
      /** Puts a camera in the window of section `mid`; `peer` null empties it. */
      select: (mid: string, peer: string | null, room?: string, track?: string) =>
        viewOf(mid, room)?.session.select(mid, peer, room, track),
      sessions: () => views.list().map((view) => sessionState(view.room, view.session)),
      publish: (request: Parameters<Publishing["publish"]>[0]) => publishing?.publish(request),
      stop: () => publishing?.stop(),
      publisher: () => publisherStats(publishing),
      health,
      renew,
      recordings: () => archive?.report() ?? null,
    },
  });
}

type Report = Record<string, unknown>;

function sessionState(room: string, session: Session): Report {
  const { phase, error, attempt } = session;
  return {
    room,
    phase,
    error,
    peer: session.place.peer,
    session: attempt?.session ?? null,
    startedAt: attempt?.startedAt ?? null,
    answeredAt: attempt?.answeredAt ?? null,
    connectedAt: attempt?.connectedAt ?? null,
    connectionState: attempt?.connection.connectionState ?? null,
  };
}

async function tileStats(tile: Tile): Promise<Report> {
  const { view, mid, audioMid, source, video, audio } = tile.window;
  const { attempt } = view.session;
  const inbound = attempt ? await rtp(attempt.connection, "inbound-rtp") : [];
  const picture = inbound.find((report) => report.mid === mid);
  const sound = inbound.find((report) => report.mid === audioMid);
  return {
    view: view.room,
    mid,
    audioMid,
    room: source?.room ?? null,
    peer: source?.peer ?? null,
    codec: video?.source?.codec ?? null,
    reason: video?.reason ?? audio?.reason ?? null,
    state: tile.state,
    muted: tile.muted,
    width: tile.video.videoWidth,
    height: tile.video.videoHeight,
    shownSince: tile.shownSince,
    firstFrameAt: tile.firstFrameAt,
    answeredAt: attempt?.answeredAt ?? null,
    connectedAt: attempt?.connectedAt ?? null,
    framesDecoded: picture?.framesDecoded ?? 0,
    framesDropped: picture?.framesDropped ?? 0,
    freezeCount: picture?.freezeCount ?? 0,
    totalFreezesDuration: picture?.totalFreezesDuration ?? 0,
    packetsLost: picture?.packetsLost ?? 0,
    start: tile.start,
    cushioned: tile.window.stats.target,
    video: picture ?? null,
    audio: sound ?? null,
  };
}

async function publisherStats(publishing: Publishing | null): Promise<Report | null> {
  const publisher = publishing?.publisher;
  if (!publisher) return null;
  const { attempt } = publisher.session;
  const outbound = attempt ? await rtp(attempt.connection, "outbound-rtp") : [];
  return {
    ...sessionState(publisher.request.room, publisher.session),
    video: outbound.find((report) => report.kind === "video") ?? null,
    audio: outbound.find((report) => report.kind === "audio") ?? null,
  };
}

/** The RTP reports of one direction, each with its codec's name put in. */
async function rtp(connection: RTCPeerConnection, type: string): Promise<Report[]> {
  const reports = await connection.getStats();
  const found: Report[] = [];
  reports.forEach((report: Report) => {
    if (report.type !== type) return;
    const codec = reports.get(report.codecId as string) as Report | undefined;
    found.push({ ...report, mimeType: codec?.mimeType ?? null });
  });
  return found;
}
