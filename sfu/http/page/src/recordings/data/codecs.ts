// Reads the codecs of a segment from its header, as the RFC 6381 strings that MediaSource requires. Pure.

/** Returns the MIME type, with codecs, of the segment that starts with `header`. */
export function mimeOf(header: Uint8Array): string {
  const webm = header[0] === 0x1a && header[1] === 0x45;
  const found = webm ? webmCodecs(header) : [mp4Video(header), mp4Audio(header)];
  return `video/${webm ? "webm" : "mp4"}; codecs="${found.filter((codec) => codec !== null).join(",")}"`;
}

/** Returns which kinds of track a MIME type has, as "video/audio": a source buffer cannot change its set of tracks. */
export function kindsOf(mime: string): string {
  const audio = /opus|mp4a/.test(mime);
  return `${mime.split(",").length - Number(audio) > 0}/${audio}`;
}

function webmCodecs(header: Uint8Array): (string | null)[] {
  const known = { V_VP8: "vp8", V_VP9: "vp9", V_AV1: "av01.0.08M.08", A_OPUS: "opus" };
  return Object.entries(known).map(([id, codec]) => (find(header, id) ? codec : null));
}

function mp4Video(header: Uint8Array): string | null {
  const avc = find(header, "avcC");
  if (avc) return `avc1.${hex(avc.subarray(1, 4))}`;
  const hevc = find(header, "hvcC");
  if (hevc) return `${find(header, "hev1") ? "hev1" : "hvc1"}.${hevcProfile(hevc)}`;
  const vp9 = find(header, "vpcC");
  // A full box starts with version and flags.
  if (vp9) return `vp09.${[vp9[4]!, vp9[5]!, vp9[6]! >> 4].map(two).join(".")}`;
  const av1 = find(header, "av1C");
  return av1
    ? `av01.${av1[1]! >> 5}.${two(av1[1]! & 31)}${av1[2]! & 128 ? "H" : "M"}.${av1[2]! & 64 ? "10" : "08"}`
    : null;
}

function mp4Audio(header: Uint8Array): string | null {
  if (find(header, "Opus")) return "opus";
  return find(header, "mp4a") ? "mp4a.40.2" : null;
}

/** Returns the profile string of ISO/IEC 14496-15 annex E.3. */
function hevcProfile(box: Uint8Array): string {
  const space = ["", "A", "B", "C"][box[1]! >> 6];
  const compatible = [...box.subarray(2, 6)].reduce((sum, byte) => sum * 256 + byte, 0);
  let reversed = 0;
  for (let bit = 0; bit < 32; bit += 1) reversed = reversed * 2 + ((compatible >>> bit) & 1);
  const constraints = [...box.subarray(6, 12)];
  while (constraints.at(-1) === 0) constraints.pop();
  const tier = box[1]! & 32 ? "H" : "L";
  return [
    `${space}${box[1]! & 31}`,
    reversed.toString(16),
    `${tier}${box[12]}`,
    ...constraints.map((byte) => byte.toString(16)),
  ].join(".");
}

/** Returns the bytes after `name`: the body of a box of that type. */
function find(header: Uint8Array, name: string): Uint8Array | null {
  const wanted = [...name].map((letter) => letter.charCodeAt(0));
  const index = header.findIndex((_, from) => wanted.every((code, step) => header[from + step] === code));
  return index < 0 ? null : header.subarray(index + name.length);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}
