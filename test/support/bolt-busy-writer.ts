/**
 * A thread that ends a transaction of a bbolt database again and again, as an engine that never rests. It does nothing
 * else and waits for nothing, so that on a loaded machine, too, one ends while the file is copied.
 */
import { ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { boltMeta } from './bolt-writer.js';

/** Copying so much takes 80 ms: a thread that is ready to run waits less for its turn. */
const fileBytes = 256 << 20;

/** Begin; ends with the answer's `terminate`. */
export function writeWithoutPause(path: string): Worker {
  return new Worker(fileURLToPath(import.meta.url), { workerData: path });
}

function writeForever(path: string): never {
  const fd = openSync(path, 'r+');
  const meta = Buffer.alloc(4096);
  readSync(fd, meta, 0, meta.length, 0);
  const rootPage = Number(meta.readBigUInt64LE(32));
  ftruncateSync(fd, fileBytes);
  for (let txid = 8n; ; txid += 1n) {
    writeSync(fd, boltMeta(rootPage, txid), 0, 4096, txid % 2n === 0n ? 0 : 4096);
  }
}

if (!isMainThread) writeForever(workerData as string);
