/** `Retry-After` (RFC 9110 section 10.2.3) in both its forms. */

/** A day: what is farther away is no answer to "when". */
const maxMs = 86_400_000;

/** Milliseconds to wait from `now`; undefined when the header is absent or unreadable. */
export function parseRetryAfter(value: string | undefined, now = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^[0-9]{1,10}$/.test(text)) return Math.min(Number(text) * 1000, maxMs);
  // HTTP-date always names its weekday; Date.parse alone would take "2" or "-3" for a year.
  if (!/^[A-Za-z]{3,9},? /.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.min(Math.max(date - now, 0), maxMs);
}
