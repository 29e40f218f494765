/** Durations as Go writes them: `1s`, `1m30s`, `1.5h`, `250ms` (time.ParseDuration). */

const unitsMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds, or undefined for a text that is no positive duration. */
export function parseDurationMs(text: string): number | undefined {
  if (!/^(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount = '0', unit = 's'] of text.matchAll(/([0-9.]+)([a-zµμ]+)/g)) {
    total += Number(amount) * (unitsMs[unit] ?? 0);
  }
  return total > 0 ? total : undefined;
}
