/** Times as Go writes them: RFC 3339 with up to nine digits behind the second. */

const pattern = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

function offsetMinutes(zone: string): number {
  if (zone === 'Z') return 0;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4, 6));
  return zone.startsWith('-') ? -minutes : minutes;
}

/** Nanoseconds since the epoch; undefined for everything else. */
export function parseTime(text: string): bigint | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  const date = new Date(0);
  // Date.UTC would take the years 0 to 99 for 1900 to 1999.
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const isReal =
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  if (!isReal) return undefined;
  const ms = BigInt(date.getTime()) - BigInt(offsetMinutes(match[8] ?? 'Z')) * 60_000n;
  return ms * 1_000_000n + BigInt((match[7] ?? '').padEnd(9, '0'));
}

/** The inverse, in UTC, as Go's `MarshalText` has it: no trailing zeros behind the second. */
export function formatTime(ns: bigint): string {
  const billion = 1_000_000_000n;
  const fraction = ((ns % billion) + billion) % billion;
  const seconds = (ns - fraction) / billion;
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return fraction === 0n
    ? `${whole}Z`
    : `${whole}.${fraction.toString().padStart(9, '0').replace(/0+$/, '')}Z`;
}
