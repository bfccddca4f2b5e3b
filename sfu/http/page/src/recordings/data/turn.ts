// How players have to turn the pictures of a segment, as its header says. Pure.

const MATRIX_AT = [40, 52];
const UPRIGHT = "0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,0,0";
const PROJECTION = [0x76, 0x70];
const VOID = 0xec;
// A size of one byte has this bit (RFC 8794 section 6).
const ONE_BYTE = 0x80;

/** Returns a text that is equal for segments whose pictures are turned alike; "" for upright ones. */
export function turnOf(header: Uint8Array): string {
  if (isWebm(header)) {
    const at = projectionOf(header);
    return at < 0 ? "" : header.subarray(at + 3, at + 3 + sizeAt(header, at)).join();
  }
  for (let at = tkhd(header, 0); at >= 0; at = tkhd(header, at)) {
    const matrix = at + MATRIX_AT[header[at]!]!;
    const turn = header.subarray(matrix, matrix + 20).join();
    // Sound has no width.
    if (header.subarray(matrix + 36, matrix + 40).some(Boolean)) return turn === UPRIGHT ? "" : turn;
  }
  return "";
}

export function isWebm(header: Uint8Array): boolean {
  return header[0] === 0x1a && header[1] === 0x45;
}

/** Returns the header of a WebM without its turn: Chromium's MediaSource refuses what FFmpeg writes there. */
export function withoutTurn(header: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const at = projectionOf(header);
  if (at < 0) return header;
  const made = header.slice();
  made.set([VOID, ONE_BYTE | (sizeAt(header, at) + 1)], at);
  return made;
}

/** Returns where the Projection of a WebM stands, behind the size of its pictures; -1 without one. */
function projectionOf(header: Uint8Array): number {
  const begins = (from: number): boolean => PROJECTION.every((byte, step) => header[from + step] === byte);
  return header.findIndex((_, from) => begins(from) && header[from + 2]! >= ONE_BYTE && header[from + 3] === 0x76);
}

function sizeAt(header: Uint8Array, at: number): number {
  return header[at + 2]! & (ONE_BYTE - 1);
}

/** Returns where the next track header's content begins; -1 after the last. */
function tkhd(header: Uint8Array, from: number): number {
  const name = [..."tkhd"].map((letter) => letter.charCodeAt(0));
  const found = header.findIndex((_, at) => at >= from && name.every((code, step) => header[at + step] === code));
  return found < 0 ? -1 : found + name.length;
}
