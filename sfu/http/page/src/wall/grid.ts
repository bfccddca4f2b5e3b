// Chooses the number of columns that makes the tiles largest. Pure.

const ASPECT_RATIO = 16 / 9;
// More columns need fewer rows, so at nearly the same size they leave less of the screen empty.
const NEARLY = 0.97;

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
  const grids = Array.from({ length: most }, (_, index) => ({
    columns: index + 1,
    width: width(count, index + 1, area),
  }));
  const largest = Math.max(...grids.map((grid) => grid.width));
  const best = grids.findLast((grid) => grid.width >= largest * NEARLY)!;
  if (best.width >= Math.min(area.narrowest, area.width)) return best;
  // Not all fit on the screen: fill the width and scroll.
  return { columns: most, width: Math.floor((area.width - area.gap * (most - 1)) / most) };
}

/** Returns the width of a tile in a grid of so many columns that is wholly on the screen. */
function width(count: number, columns: number, area: Area): number {
  const rows = Math.ceil(count / columns);
  const byWidth = (area.width - area.gap * (columns - 1)) / columns;
  const byHeight = ((area.height - area.gap * (rows - 1)) / rows) * ASPECT_RATIO;
  return Math.floor(Math.min(byWidth, byHeight));
}
