/**
 * Nothing grows: memory, descriptors and tables of the native driver after many operations.
 *
 * `IMGFS_TEST_SOAK=10000000` for the full size: so many requests of the kernel, some minutes.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { mountSample, skipWithoutMount, type Mounted } from '../support/mounted.js';

const requests = Number(process.env['IMGFS_TEST_SOAK'] ?? 60_000);

/** What V8 takes for its heap at its leisure; a leak of 16 bytes per request would show at full size. */
const growthBytes = requests > 1_000_000 ? 32 * 2 ** 20 : 96 * 2 ** 20;

const clients = 2;

interface Use {
  readonly requests: number;
  readonly rss: number;
  readonly descriptors: number;
  readonly gauges: Readonly<Record<string, number>>;
}

/** What the daemon uses when nothing is under way. */
async function useOf(mounted: Mounted): Promise<Use> {
  const facts = await mounted.statistics();
  const proc = `/proc/${mounted.child.pid}`;
  const pages = Number(readFileSync(`${proc}/statm`, 'utf8').split(' ')[1]);
  const names = ['inodes', 'listedEntries', 'handles', 'pending', 'sealedFiles', 'backingFiles'];
  return {
    requests: facts['requests'] ?? 0,
    rss: pages * 4096,
    descriptors: readdirSync(`${proc}/fd`).length,
    gauges: Object.fromEntries(names.map((name) => [name, facts[name] ?? 0])),
  };
}

/** Run clients until the driver has seen `until` requests, and let everything settle. */
async function work(mounted: Mounted, t: TestContext, until: number, seed: number): Promise<void> {
  const program = fileURLToPath(new URL('../support/soak-client.js', import.meta.url));
  const children = Array.from({ length: clients }, (_, index) => {
    const child = spawn(process.execPath, [program, mounted.path, `${seed + index}`], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    return { child, exit: once(child, 'exit') };
  });
  while (((await mounted.statistics())['requests'] ?? 0) < until) {
    for (const { child } of children) assert.equal(child.exitCode, null, 'a client failed');
    await sleep(200);
  }
  for (const { child, exit } of children) {
    child.stdin.end();
    assert.equal((await exit)[0], 0, 'a client failed');
  }
  for (let tries = 0; tries < 100 && (await mounted.counts()).openFiles > 0; tries += 1) await sleep(50);
  // Readers let go of the file that they have mapped after a second without a read.
  await sleep(2_500);
}

const timeout = 60_000 + requests / 5;

describe('native driver: over time', { skip: skipWithoutMount('native') }, () => {
  test(`nothing grows over ${requests} requests`, { timeout }, async (t) => {
    const mounted = await mountSample('native', { readOnly: false });
    t.after(() => mounted.dispose());
    await work(mounted, t, requests / 3, 1);
    const before = await useOf(mounted);
    await work(mounted, t, requests, 100);
    const after = await useOf(mounted);
    t.diagnostic(`${JSON.stringify(before)} → ${JSON.stringify(after)}`);
    assert.ok(after.requests >= requests);
    assert.deepEqual(after.gauges, before.gauges);
    assert.equal(after.gauges['handles'], 0);
    assert.equal(after.gauges['pending'], 0);
    assert.ok(after.descriptors <= before.descriptors, `${before.descriptors} → ${after.descriptors} open`);
    assert.ok(after.rss - before.rss < growthBytes, `${before.rss} → ${after.rss} bytes resident`);
    const { openFiles, openDirectories } = await mounted.counts();
    assert.deepEqual([openFiles, openDirectories], [0, 0]);
  });
});
