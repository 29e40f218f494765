/** Runs many seeded scenarios, a few at a time, and counts the faults that struck; a failing seed is named. */
import { isImgfsError, type ImgfsError } from '../../src/errors/imgfs-error.js';
import type { FaultRegistryOptions } from '../support/fault-registry/index.js';
import { createPrng, type Prng } from '../support/prng.js';

export interface ScenarioResult {
  readonly faults: number;
  /** Operations that ended well, and that failed as they may. */
  readonly succeeded: number;
  readonly failed: number;
}

export interface RunOptions {
  /** Stop when that many faults have struck. */
  readonly faults: number;
  readonly concurrency: number;
  readonly firstSeed: number;
}

/** `IMGFS_FAULT_SEED=17` runs that one scenario only; `IMGFS_FAULTS=100000` is a soak, from `IMGFS_FAULT_FIRST` on. */
export function runOptions(faults: number, concurrency: number): RunOptions {
  const seed = process.env['IMGFS_FAULT_SEED'];
  if (seed !== undefined) return { faults: 1, concurrency: 1, firstSeed: Number(seed) };
  return {
    faults: Number(process.env['IMGFS_FAULTS'] ?? faults),
    concurrency,
    firstSeed: Number(process.env['IMGFS_FAULT_FIRST'] ?? 1),
  };
}

/** Totals over all scenarios. @throws the first failures, each with its seed, after all have ended. */
export async function runScenarios(
  options: RunOptions,
  scenario: (seed: number, prng: Prng) => Promise<ScenarioResult>,
): Promise<ScenarioResult> {
  const total = { faults: 0, succeeded: 0, failed: 0 };
  const failures: string[] = [];
  let next = options.firstSeed;
  const worker = async (): Promise<void> => {
    while (total.faults < options.faults && failures.length < 10) {
      const seed = next;
      next += 1;
      try {
        const result = await scenario(seed, createPrng(seed));
        total.faults += Math.max(result.faults, options.faults === 1 ? 1 : 0);
        total.succeeded += result.succeeded;
        total.failed += result.failed;
      } catch (error) {
        failures.push(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, worker));
  if (failures.length > 0) throw new Error(failures.join('\n'));
  return total;
}

/** Servers of all habits. */
export function serverHabits(prng: Prng): FaultRegistryOptions {
  const users = { me: 'secret' };
  return {
    auth: prng.pick([
      { kind: 'none' },
      { kind: 'basic', users },
      { kind: 'bearer', users },
      { kind: 'bearer', users, lifetimeSeconds: 60, field: 'token' },
    ] as const),
    redirectBlobs: prng.next() < 0.4,
    ranges: prng.next() < 0.2 ? 'ignored' : 'single',
    digestHeader: prng.next() < 0.8,
  };
}

/** Codes that an outage or a lying server may end in. `not-found` is none of them: nothing here is ever missing. */
const allowedCodes: ReadonlySet<string> = new Set([
  'unauthorized',
  'denied',
  'rate-limited',
  'timeout',
  'unavailable',
  'protocol',
  'integrity',
  'invalid-content',
  'too-large',
  'unsupported',
  'invalid',
]);

export interface Watched<T> {
  readonly value?: T;
  readonly error?: ImgfsError;
  readonly tookMs: number;
}

/**
 * Do one operation. It must end in time, and either well or with an error of ours that fits a server at fault.
 * @throws for a hang, a foreign error, a defect (`internal`), or a "not found" of what is there.
 */
export async function watched<T>(
  what: string,
  limitMs: number,
  operation: () => Promise<T>,
): Promise<Watched<T>> {
  const from = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no end after ${limitMs} ms`)), limitMs);
  });
  try {
    const value = await Promise.race([operation(), late]);
    return { value, tookMs: performance.now() - from };
  } catch (error) {
    if (!isImgfsError(error)) throw error;
    if (!allowedCodes.has(error.code)) {
      throw new Error(`${what}: ${error.code}: ${error.message}`, { cause: error });
    }
    return { error, tookMs: performance.now() - from };
  } finally {
    clearTimeout(timer);
  }
}
