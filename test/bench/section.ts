/** What a section of the bench is, and the arithmetic that all of them share. */

export interface Measurement {
  readonly what: string;
  /** With its unit, and the range where it was repeated. */
  readonly measured: string;
  /** What was promised; empty for a row that only informs. */
  readonly figure: string;
  readonly reached?: boolean;
}

export interface Section {
  readonly title: string;
  run(): AsyncIterable<Measurement>;
}

/** The middle value. @throws on no values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new Error('median of nothing');
  return middle;
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

/** `1.23 (1.10–1.40)`: median and range. */
export function spread(values: readonly number[], digits = 2): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${median(values).toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`;
}
