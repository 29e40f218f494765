/**
 * A process that reads random blobs through a cache, and ends with 1 when a byte is wrong. Tests start several, and
 * kill them. Argument: JSON of `ContentReaderPlan`. Prints one JSON line for each read blob.
 */
import { fileURLToPath } from 'node:url';
import { openContentCache } from '../../src/content/disk.js';
import { isImgfsError } from '../../src/errors/imgfs-error.js';
import { createPrng } from './prng.js';
import { ScriptedStore } from './scripted-store.js';

export interface ContentReaderPlan {
  readonly directory: string;
  readonly seed: number;
  /** Blobs are the same for all processes: `planBlob(0)`, `planBlob(1)`… */
  readonly blobs: number;
  readonly reads: number;
  readonly maxBytes?: number;
  /** Milliseconds between chunks: a reader that is killed should be in the middle of something. */
  readonly paceMs?: number;
}

export const contentReaderProgram = fileURLToPath(import.meta.url);

/** Blob number n: its size and bytes depend on n only. */
export function planBlob(n: number): Uint8Array {
  const prng = createPrng(1000 + n);
  return prng.bytes(50_000 + prng.integer(1_500_000));
}

async function main(plan: ContentReaderPlan): Promise<void> {
  const prng = createPrng(plan.seed);
  const { directory, maxBytes, paceMs } = plan;
  const cache = await openContentCache({ directory, ...(maxBytes === undefined ? {} : { maxBytes }) });
  const store = new ScriptedStore({
    chunkBytes: 32 << 10,
    ...(paceMs === undefined ? {} : { pace: () => new Promise((resolve) => setTimeout(resolve, paceMs)) }),
  });
  const blobs = Array.from({ length: plan.blobs }, (_, n) => planBlob(n));
  const sources = blobs.map((blob) => store.add(blob));
  for (let count = 0; count < plan.reads; count += 1) {
    const n = prng.integer(blobs.length);
    const blob = blobs[n];
    const source = sources[n];
    if (blob === undefined || source === undefined) continue;
    const reader = await cache.open(source);
    const whole = prng.next() < 0.7;
    let at = whole ? 0 : prng.integer(blob.length);
    const end = whole ? blob.length : Math.min(blob.length, at + 20_000);
    const buffer = new Uint8Array(128 << 10);
    while (at < end) {
      const length = await reader.read(buffer, 0, Math.min(buffer.length, end - at), at);
      if (!Buffer.from(buffer.buffer, 0, length).equals(blob.subarray(at, at + length))) {
        console.error(`wrong bytes in blob ${n} at ${at}`);
        process.exit(1);
      }
      at += length;
    }
    await reader.close();
    console.log(JSON.stringify({ count, n, sent: store.sent }));
  }
  await cache.close();
}

const argument = process.argv[2];
if (process.argv[1] === contentReaderProgram && argument !== undefined) {
  main(JSON.parse(argument) as ContentReaderPlan).catch((error: unknown) => {
    console.error(isImgfsError(error) ? `${error.code}: ${error.message}` : error);
    process.exit(2);
  });
}
