// Sorts the blocks of WebM clusters by time: the recorder writes tracks as they arrive, but Chromium's MediaSource
// requires one order of time. Pure.

const CLUSTER = 0x1f43b675;
const TIME = 0xe7;
const SIMPLE_BLOCK = 0xa3;
const BLOCK_GROUP = 0xa0;
const BLOCK = 0xa1;

/** An EBML element (RFC 8794): `start` of its id, `body`, and the first byte after it. */
interface Element_ {
  id: number;
  start: number;
  body: number;
  end: number;
}

/** Sorts the blocks of each cluster (RFC 9559 section 5.1.3) in place; no block is then before its cluster's time. */
export function sortBlocks(data: Uint8Array): void {
  for (const cluster of elements(data, 0, data.length)) {
    if (cluster.id === CLUSTER) sortCluster(data, cluster);
  }
}

function sortCluster(data: Uint8Array, cluster: Element_): void {
  const children = elements(data, cluster.body, cluster.end);
  const blocks = children.filter(({ id }) => id === SIMPLE_BLOCK || id === BLOCK_GROUP);
  const first = blocks[0];
  const last = blocks.at(-1);
  // Other elements between two blocks would have to move along; FFmpeg writes none.
  if (!first || !last || children.indexOf(last) - children.indexOf(first) !== blocks.length - 1) return;
  const timed = blocks.map((block) => ({ block, at: timeAt(data, block) }));
  const earliest = Math.min(...timed.map(({ at }) => readTime(data, at)));
  const own = children.find(({ id }) => id === TIME);
  if (earliest < 0 && own) {
    addTo(data, own, earliest);
    for (const { at } of timed) writeTime(data, at, readTime(data, at) - earliest);
  }
  timed.sort((a, b) => readTime(data, a.at) - readTime(data, b.at));
  const sorted = timed.map(({ block }) => data.slice(block.start, block.end));
  let offset = first.start;
  for (const block of sorted) {
    data.set(block, offset);
    offset += block.length;
  }
}

/** Returns the position of a block's 16-bit time, after the track number (RFC 9559 section 10.1). */
function timeAt(data: Uint8Array, block: Element_): number {
  const inner = block.id === BLOCK_GROUP ? elements(data, block.body, block.end).find(({ id }) => id === BLOCK) : block;
  return inner ? inner.body + width(data[inner.body]!) : block.body;
}

function readTime(data: Uint8Array, at: number): number {
  return (((data[at]! << 8) | data[at + 1]!) << 16) >> 16;
}

function writeTime(data: Uint8Array, at: number, time: number): void {
  data[at] = time >> 8;
  data[at + 1] = time;
}

function addTo(data: Uint8Array, { body, end }: Element_, by: number): void {
  let value = 0;
  for (let at = body; at < end; at += 1) value = value * 256 + data[at]!;
  value = Math.max(0, value + by);
  for (let at = end - 1; at >= body; at -= 1, value = Math.floor(value / 256)) data[at] = value % 256;
}

function elements(data: Uint8Array, from: number, end: number): Element_[] {
  const found: Element_[] = [];
  for (let start = from; start < end; ) {
    const idWidth = width(data[start]!);
    const sizeAt = start + idWidth;
    const sizeWidth = width(data[sizeAt] ?? 0);
    const body = sizeAt + sizeWidth;
    const size = number(data, sizeAt, sizeWidth) - 2 ** (7 * sizeWidth);
    if (idWidth > 4 || sizeWidth > 8 || body + size > end) break;
    found.push({ id: number(data, start, idWidth), start, body, end: body + size });
    start = body + size;
  }
  return found;
}

/** Returns the width in bytes of a variable-size integer, from its first byte; 9 if it is not valid. */
function width(first: number): number {
  return Math.clz32(first) - 23;
}

/** Returns a big-endian number, including the length marker. */
function number(data: Uint8Array, at: number, bytes: number): number {
  let value = 0;
  for (let index = 0; index < bytes; index += 1) value = value * 256 + (data[at + index] ?? 0);
  return value;
}
