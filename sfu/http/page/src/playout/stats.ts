// Statistics of a received video, read from `getStats()` (W3C webrtc-stats). Pure.

type Report = Record<string, unknown>;

/** Counts since the connection started, times in ms. */
export interface VideoStats {
  /** Time of the report, in ms of its own clock. */
  at: number;
  bytes: number;
  received: number;
  lost: number;
  nacks: number;
  retransmitted: number;
  decoded: number;
  freezes: number;
  dropped: number;
  frozen: number;
  jitter: number;
  /** Total time that frames spent in the jitter buffer, and their number in `emitted`. */
  buffered: number;
  emitted: number;
  roundTrip: number | null;
}

/** Returns the statistics of the video section `mid`; null while it has received nothing. */
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

/** Averages over the time between two reports. */
export interface Rates {
  /** In bit/s. */
  bitrate: number;
  fps: number;
  /** Time in the jitter buffer, in ms; null if no frame was shown. */
  buffer: number | null;
}

/** Returns the averages between two reports; null if no time has passed. */
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
