// Formats times (in the local time zone), durations and sizes. Pure.

const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", year: "numeric" });

/** Returns the local time of day, `07:05:09` or `07:05`. */
export function clock(time: number, seconds = true): string {
  const at = new Date(time);
  const fields = [at.getHours(), at.getMinutes(), ...(seconds ? [at.getSeconds()] : [])];
  return fields.map((field) => String(field).padStart(2, "0")).join(":");
}

export function dayName(time: number): string {
  return DAY.format(time);
}

export function durationText(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1_000));
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  if (hours) return `${hours} h ${minutes} min`;
  const rest = seconds % 60 ? ` ${seconds % 60} s` : "";
  return minutes ? `${minutes} min${rest}` : `${seconds} s`;
}

export function sizeText(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
}
