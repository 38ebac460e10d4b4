// How numbers are spelled for people.

const counts = new Intl.NumberFormat("en-US");

export const NONE = "–";

/** A count with a comma before every third digit. */
export const count = (number) => (number === null || number === undefined ? NONE : counts.format(number));

/** Three digits and a unit that suits. */
function scaled(value, units) {
  let index = 0;
  while (value >= units[index][0] && index + 1 < units.length) {
    value /= units[index][0];
    index += 1;
  }
  const decimals = index === 0 && Number.isInteger(value) ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(decimals)} ${units[index][1]}`;
}

/** A time in microseconds, such as `12.3 µs`. */
export function micros(time) {
  if (time === null || time === undefined) return NONE;
  return time < 1 ? `${Math.round(time * 1000)} ns` : scaled(time, [[1000, "µs"], [1000, "ms"], [Infinity, "s"]]);
}

/** A number of bytes. */
export const bytes = (size) =>
  size === null || size === undefined
    ? NONE
    : scaled(size, [[1024, "B"], [1024, "KiB"], [1024, "MiB"], [1024, "GiB"], [Infinity, "TiB"]]);

/** A rate per second. */
export const rate = (perSecond) =>
  perSecond === null || perSecond === undefined ? NONE : `${perSecond < 10 && !Number.isInteger(perSecond) ? perSecond.toFixed(1) : count(Math.round(perSecond))}/s`;

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

/** A length of time in seconds, such as `1d 0h 5m 9s`. */
export function duration(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [size, unit] of UNITS) {
    if (rest < size && parts.length === 0 && size > 1) continue;
    parts.push(`${Math.floor(rest / size)}${unit}`);
    rest %= size;
  }
  return parts.join(" ");
}

/** How long before `nowMs` that was. */
export const ago = (atMs, nowMs) => `${duration((nowMs - atMs) / 1000)} ago`;

/** How far from `nowMs` an event time is: it may lie ahead of the clock, and ends beyond all dates. */
export function eventTime(atMs, nowMs) {
  if (atMs === null || atMs === undefined) return NONE;
  if (atMs >= Number.MAX_SAFE_INTEGER) return "the end of time";
  return atMs > nowMs ? `${duration((atMs - nowMs) / 1000)} ahead` : ago(atMs, nowMs);
}

/** A share of one, in percent. */
export const percent = (share) => `${(share * 100).toFixed(1)}%`;

/** A moment, as local time. */
export const moment = (atMs) => new Date(atMs).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
