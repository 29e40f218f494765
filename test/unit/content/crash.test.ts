import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openContentCache } from '../../../src/content/disk.js';
import { digestOf } from '../../../src/oci/digest.js';
import { copyBlob } from '../../conformance/content-suite.js';
import { contentReaderProgram, planBlob, type ContentReaderPlan } from '../../support/content-reader.js';
import { createPrng } from '../../support/prng.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { makeTempDir, removeTempDir, tempDir } from '../../support/temp.js';

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
  readonly reads: number;
}

function start(plan: ContentReaderPlan): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const child = spawn(process.execPath, [contentReaderProgram, JSON.stringify(plan)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, IMGFS_LOG: 'error' },
  });
  let stderr = '';
  let reads = 0;
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  child.stdout.on('data', (text: Buffer) => (reads += text.toString().split('\n').length - 1));
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stderr, reads }));
  });
  return { child, ended };
}

/** Every name under blobs/ stands for its bytes. */
async function checkBlobs(directory: string): Promise<number> {
  const folder = join(directory, 'blobs', 'sha256');
  const names = await fs.readdir(folder).catch(() => []);
  for (const name of names) {
    assert.equal(digestOf(await fs.readFile(join(folder, name))), `sha256:${name}`);
  }
  return names.length;
}

const bytesOnDisk = async (directory: string): Promise<number> => {
  let sum = 0;
  // Folders vanish while they are listed.
  const entries = await fs.readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const stat = await fs.lstat(join(entry.parentPath, entry.name)).catch(() => undefined);
    sum += (stat?.blocks ?? 0) * 512;
  }
  return sum;
};

test(
  'kill -9 at any instant: no wrong byte, no wrong name, and everything goes on',
  { timeout: 60_000 },
  async (t) => {
    const directory = await tempDir(t, 'crash');
    const prng = createPrng(7);
    let hit = 0;
    for (let round = 0; round < 8; round += 1) {
      const { child, ended } = start({
        directory,
        seed: round,
        blobs: 6,
        reads: 1000,
        paceMs: 1,
        maxBytes: 6 << 20,
      });
      await new Promise((resolve) => setTimeout(resolve, 150 + prng.integer(350)));
      child.kill('SIGKILL');
      const { signal, stderr } = await ended;
      assert.equal(stderr, '');
      if (signal === 'SIGKILL') hit += 1;
      await checkBlobs(directory);
    }
    assert.ok(hit >= 6, 'the kills hit something');
    const { ended } = start({ directory, seed: 99, blobs: 6, reads: 20, maxBytes: 6 << 20 });
    assert.deepEqual({ ...(await ended), reads: 20 }, { code: 0, signal: null, stderr: '', reads: 20 });
    assert.ok((await checkBlobs(directory)) > 0);
  },
);

test('what a killed process had fetched is not fetched again', { timeout: 30_000 }, async (t) => {
  const directory = await makeTempDir('resume');
  const blob = planBlob(0);
  const { child, ended } = start({ directory, seed: 1, blobs: 1, reads: 1, paceMs: 15 });
  const journal = join(directory, 'partial', digestOf(blob).replace(':', '-'), 'ranges');
  // The journal speaks of what was written at the end of a window at the latest.
  for (let text = ''; !text.includes('+'); text = await fs.readFile(journal, 'utf8').catch(() => '')) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  child.kill('SIGKILL');
  await ended;
  const cache = await openContentCache({ directory });
  t.after(async () => {
    await cache.close();
    await removeTempDir(directory);
  });
  const before = await cache.status(digestOf(blob));
  assert.equal(before.state, 'partial');
  assert.ok(before.presentBytes > 0 && before.presentBytes < blob.length, `${before.presentBytes} bytes`);
  const store = new ScriptedStore();
  assert.deepEqual(await copyBlob(cache, store.add(blob)), blob);
  assert.equal(store.sent, blob.length - before.presentBytes);
});

/** Resolves when no thread of the process runs any more. */
async function standsStill({ pid, exitCode, signalCode }: ChildProcess): Promise<void> {
  if (exitCode !== null || signalCode !== null) return;
  for (;;) {
    const threads = await fs.readdir(`/proc/${pid}/task`).catch(() => []);
    const states = await Promise.all(
      threads.map((id) => fs.readFile(`/proc/${pid}/task/${id}/stat`, 'utf8').catch(() => ') Z')),
    );
    if (states.every((stat) => /^[TZX]/u.test(stat.slice(stat.lastIndexOf(')') + 2)))) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Bytes on disk at one instant: a sum over a folder that changes meanwhile is one of no instant. */
async function bytesAtAnInstant(directory: string, processes: readonly ChildProcess[]): Promise<number> {
  for (const child of processes) child.kill('SIGSTOP');
  try {
    await Promise.all(processes.map(standsStill));
    return await bytesOnDisk(directory);
  } finally {
    for (const child of processes) child.kill('SIGCONT');
  }
}

test(
  'several processes share a cache under one bound, whenever they are held up',
  { timeout: 60_000 },
  async (t) => {
    const directory = await tempDir(t, 'shared');
    const maxBytes = 5 << 20;
    const blobs = 20;
    const readers = [1, 2, 3].map((seed) => start({ directory, seed, blobs, reads: 40, maxBytes }));
    const processes = readers.map(({ child }) => child);
    t.after(() => processes.forEach((child) => child.kill('SIGKILL')));
    const prng = createPrng(11);
    let most = 0;
    while (processes.some(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
      processes[prng.integer(processes.length)]?.kill('SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, prng.integer(150)));
      most = Math.max(most, await bytesAtAnInstant(directory, processes));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const results = await Promise.all(readers.map(({ ended }) => ended));
    for (const { code, stderr } of results) assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    await checkBlobs(directory);
    // What others were promised since its own last listing a process does not know, and how long ago that was is up to
    // the scheduler. But each lists again before it was promised more than the slack of 3 %, or more than one window where
    // that is more, as here: so each may have added the largest blob that the others have not seen. What they find
    // begun and go on with was there before. Files that are no entries (index, names, journals) are 16 blocks at most.
    const largest = Math.max(...Array.from({ length: blobs }, (_, n) => planBlob(n).length));
    const otherBytes = 16 * 4096;
    const promised = maxBytes + readers.length * largest + otherBytes;
    assert.ok(most <= promised, `${most} bytes at some time, ${promised} promised`);
    assert.deepEqual(
      await fs.readdir(join(directory, 'partial')).then((names) => names.filter((n) => n.includes('~'))),
      [],
    );
    // Whoever looks next brings it under the bound, exactly: nothing is on its way now.
    const cache = await openContentCache({ directory, maxBytes });
    t.after(() => cache.close());
    await cache.usage({ wait: true });
    while ((await bytesOnDisk(directory)) > maxBytes + otherBytes)
      await new Promise((resolve) => setTimeout(resolve, 5));
  },
);
