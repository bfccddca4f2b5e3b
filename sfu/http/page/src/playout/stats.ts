// A window's figures out of `getStats()` (W3C webrtc-stats): what came, what was lost, how long it was kept. Pure.

type Report = Record<string, unknown>;

/** Counts since the connection began, times in ms. */
export interface VideoStats {
  /** ms of the reports' own clock. */
  at: number;
  bytes: number;
  received: number;
  lost: number;
  nacks: number;
  /** Packets that were sent to us again. */
  retransmitted: number;
  decoded: number;
  freezes: number;
  dropped: number;
  frozen: number;
  jitter: number;
  /** Sums over all pictures that left the jitter buffer, and how many did. */
  buffered: number;
  emitted: number;
  roundTrip: number | null;
}

/** Of the video section `mid`; null while nothing has come in it. */
export function videoStats(reports: RTCStatsReport, mid: string | null): VideoStats | null {
  let inbound: Report | undefined;
  reports.forEach((report: Report) => {
    if (report.type === "inbound-rtp" && report.mid === mid) inbound = report;
  });
  if (!inbound || mid === null) return null;
  const count = (name: string): number => Number(inbound?.[name]) || 0;
  return {
    at: count("timestamp"),
    bytes: count("bytesReceived"),
    received: count("packetsReceived"),
    lost: count("packetsLost"),
    nacks: count("nackCount"),
    retransmitted: count("retransmittedPacketsReceived"),
    decoded: count("framesDecoded"),
    freezes: count("freezeCount"),
    dropped: count("framesDropped"),
    frozen: count("totalFreezesDuration") * 1000,
    jitter: count("jitter") * 1000,
    buffered: count("jitterBufferDelay") * 1000,
    emitted: count("jitterBufferEmittedCount"),
    roundTrip: roundTripOf(reports),
  };
}

function roundTripOf(reports: RTCStatsReport): number | null {
  let trip: number | null = null;
  reports.forEach((report: Report) => {
    if (report.type !== "candidate-pair" || report.nominated !== true || report.state !== "succeeded") return;
    if (typeof report.currentRoundTripTime === "number") trip = report.currentRoundTripTime * 1000;
  });
  return trip;
}

/** What is said of the time between two looks. */
export interface Rates {
  /** bit/s. */
  bitrate: number;
  fps: number;
  /** ms that a picture was kept on average; null when none was shown. */
  buffer: number | null;
}

export function ratesBetween(before: VideoStats, after: VideoStats): Rates | null {
  const seconds = (after.at - before.at) / 1000;
  if (seconds <= 0) return null;
  const emitted = after.emitted - before.emitted;
  return {
    bitrate: ((after.bytes - before.bytes) * 8) / seconds,
    fps: (after.decoded - before.decoded) / seconds,
    buffer: emitted > 0 ? (after.buffered - before.buffered) / emitted : null,
  };
}
