// Chooses the number of columns that makes the tiles largest. Pure.

const ASPECT_RATIO = 16 / 9;

export interface Area {
  width: number;
  height: number;
  gap: number;
  /** Smallest width of a tile; if more do not fit, the wall scrolls. */
  narrowest: number;
}

/** Returns the columns, and a tile's width in CSS pixels, for `count` tiles of 16:9 in `area`. */
export function bestGrid(count: number, area: Area): { columns: number; width: number } {
  const most = Math.max(1, Math.min(count, Math.floor((area.width + area.gap) / (area.narrowest + area.gap))));
  let best = { columns: 1, width: 0 };
  for (let columns = 1; columns <= most; columns += 1) {
    const rows = Math.ceil(count / columns);
    const byWidth = (area.width - area.gap * (columns - 1)) / columns;
    const byHeight = ((area.height - area.gap * (rows - 1)) / rows) * ASPECT_RATIO;
    const width = Math.floor(Math.min(byWidth, byHeight));
    if (width > best.width) best = { columns, width };
  }
  if (best.width >= Math.min(area.narrowest, area.width)) return best;
  // Not all fit on the screen: fill the width and scroll.
  return { columns: most, width: Math.floor((area.width - area.gap * (most - 1)) / most) };
}
