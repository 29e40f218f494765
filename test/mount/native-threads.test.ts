/** What the native driver does without JavaScript, and how its waits end. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { mountSample, skipWithoutMount, type Mounted } from '../support/mounted.js';
import { bigBytes, joinedContent, pattern, sparseBytes } from '../support/sample-tree.js';

const timeout = 30_000;
const isRoot = process.getuid?.() === 0;

async function until(what: string, check: () => Promise<boolean>, limitMs = 5_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await check())) {
    assert.ok(Date.now() < end, `not within ${limitMs} ms: ${what}`);
    await sleep(20);
  }
}

interface StuckReader {
  readonly child: ChildProcess;
  /** Exit code and signal. */
  readonly exit: Promise<readonly [unknown, unknown]>;
}

/** A reader of a file that never answers; resolves when the driver knows about it. */
async function stuckReader(mounted: Mounted, name: string): Promise<StuckReader> {
  const { pending: before = 0 } = await mounted.statistics();
  const child = spawn('cat', [join(mounted.path, name)], { stdio: 'ignore' });
  const exit = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  await until('the read waits', async () => ((await mounted.statistics())['pending'] ?? 0) > before);
  return { child, exit: Promise.race([exit, sleep(6_000, [undefined, 'timeout'] as const, { ref: false })]) };
}

describe('native driver: without JavaScript', { skip: skipWithoutMount('native') }, () => {
  test('files that are put together of others are read where those lie', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    const expected = joinedContent();
    const file = await open(join(mounted.path, 'joined'), 'r');
    try {
      // The kernel reads ahead, but not to what only JavaScript has, at 3,000,512.
      const buffer = Buffer.alloc(500_000);
      assert.equal((await file.read(buffer, 0, buffer.length, 0)).bytesRead, buffer.length);
      assert.ok(buffer.equals(expected.subarray(0, buffer.length)));
      const { fills, calls } = await mounted.counts();
      // Segments are told whole: only requests that come before the first answer ask as well (3 of 1 MiB at most).
      assert.ok(fills.length > 0 && fills.length <= 4, `${fills.length} times asked`);
      assert.equal(calls['read'] ?? 0, 0, 'no bytes through JavaScript');
      // What only JavaScript has comes from there.
      await file.read(buffer, 0, 1000, 3_100_000);
      assert.ok(buffer.subarray(0, 1000).equals(expected.subarray(3_100_000, 3_101_000)));
      assert.ok(((await mounted.counts()).calls['read'] ?? 0) > 0);
    } finally {
      await file.close();
    }
  });

  test('who asks for one name after the other does not hold the event loop up', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    await mounted.command('dawdle 0.5');
    const names = Array.from({ length: 400 }, (_, index) => `absent-${index}`);
    // GNU stat goes on behind a name that is not there; ends with 1.
    const child = spawn('stat', names, { cwd: mounted.path, stdio: 'ignore' });
    await once(child, 'exit');
    const { most } = (await mounted.command('dawdle')) as { readonly most: number };
    // 1 ms of a turn are two of them, and a few more where the clock is read late. All 400 where nobody counts.
    assert.ok(most >= 1 && most <= 40, `${most} lookups in one turn`);
  });

  test('known content is served while JavaScript does nothing', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    const at = (...names: string[]): string => join(mounted.path, ...names);
    await readdir(at('fixed'));
    await readFile(at('big'));
    await readFile(at('sparse'));
    const before = await mounted.counts();
    const { toScript: askedBefore = 0 } = await mounted.statistics();
    let blocked = true;
    const block = mounted.command('block 4000').then(() => {
      blocked = false;
    });
    await sleep(100);
    // Its names are in the kernel now; new ones, and names that do not exist, are not.
    for (let i = 0; i < 50; i += 1) assert.ok((await stat(at('fixed', `f${i}`))).isFile());
    await assert.rejects(stat(at('fixed', 'absent')), { code: 'ENOENT' });
    assert.equal((await readdir(at('fixed'))).length, 52);
    assert.ok((await readFile(at('big'))).equals(pattern(0, bigBytes)));
    assert.ok(blocked, 'JavaScript was still busy');
    await block;
    const after = await mounted.counts();
    for (const operation of ['lookup', 'getattr', 'open', 'opendir', 'readdir', 'read'])
      assert.equal(after.calls[operation], before.calls[operation], operation);
    assert.equal((await mounted.statistics())['toScript'], askedBefore);
  });

  test(
    'after a few names of a complete directory JavaScript is not asked for others',
    { timeout },
    async (t) => {
      const mounted = await mountSample('native');
      t.after(() => mounted.dispose());
      const at = (name: string): string => join(mounted.path, 'fixed', name);
      for (let i = 0; i < 8; i += 1) await stat(at(`f${i}`));
      await until(
        'the directory is known',
        async () => ((await mounted.statistics())['listedEntries'] ?? 0) >= 52,
      );
      const { calls, openDirectories } = await mounted.counts();
      for (let i = 8; i < 50; i += 1) assert.ok((await stat(at(`f${i}`))).isFile());
      await assert.rejects(stat(at('absent')), { code: 'ENOENT' });
      assert.equal(await readFile(at('f40'), 'utf8'), 'content 40');
      assert.equal((await mounted.counts()).calls['lookup'], calls['lookup']);
      assert.equal(openDirectories, 0);
      // Names of the root can be looked up without being listed: there it stays JavaScript's business.
      for (let i = 0; i < 20; i += 1) await assert.rejects(stat(join(mounted.path, `absent-${i}`)));
      const after = (await mounted.counts()).calls;
      assert.ok((after['lookup'] ?? 0) >= (calls['lookup'] ?? 0) + 20);
      assert.equal(after['opendir'], calls['opendir'], 'what is not at hand is not listed unasked');
    },
  );

  test('one fill for many readers of one range', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    const file = await open(join(mounted.path, 'sparse'), 'r');
    try {
      const results = await Promise.all(
        Array.from({ length: 8 }, () => file.read(Buffer.alloc(4096), 0, 4096, 5_000_000)),
      );
      for (const { buffer } of results) assert.ok(buffer.equals(pattern(5_000_000, 5_004_096)));
    } finally {
      await file.close();
    }
    const { fills } = await mounted.counts();
    const covering = fills.filter((range) => range.start < 5_004_096 && range.end > 5_000_000);
    assert.ok(covering.length <= 2, JSON.stringify(covering));
    for (const [index, range] of fills.entries())
      for (const other of fills.slice(index + 1))
        assert.ok(range.end <= other.start || other.end <= range.start, 'no byte is filled twice');
  });

  test('passthrough, cached and evicted opens of one file never fail', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    const sparse = join(mounted.path, 'sparse');
    const big = join(mounted.path, 'big');
    const check = async (path: string, size: number): Promise<void> => {
      const content = await readFile(path);
      assert.ok(content.length === size && content.equals(pattern(0, size)), path);
    };
    // Cached first, complete later: new opens must stay cached while the old one lives.
    const held = await open(sparse, 'r');
    await held.read(Buffer.alloc(100), 0, 100, 0);
    await mounted.command('complete');
    await check(sparse, sparseBytes);
    await held.close();
    await check(sparse, sparseBytes);
    // Passthrough first; then the file is evicted and comes back as another one.
    const through = await open(big, 'r');
    await check(big, bigBytes);
    await mounted.command('evict');
    await check(big, bigBytes);
    const buffer = Buffer.alloc(1000);
    await through.read(buffer, 0, 1000, 7_000_000);
    assert.ok(buffer.equals(pattern(7_000_000, 7_001_000)));
    await through.close();
    await check(big, bigBytes);
    const { passthroughOpens = 0 } = await mounted.statistics();
    if (isRoot) assert.ok(passthroughOpens >= 3, `${passthroughOpens} passthrough opens`);
    else assert.equal(passthroughOpens, 0);
  });

  test('a moved tag is seen at once after a notification', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    const tag = join(mounted.path, 'tag');
    assert.equal(await readFile(tag, 'utf8'), 'old');
    const { inode } = (await mounted.command('grow a longer content')) as { inode: number };
    assert.equal((await stat(tag)).size, 3, 'attributes live for an hour');
    await mounted.command(`expire-attributes ${inode}`);
    await until('the new size', async () => (await stat(tag)).size === 16);
    assert.equal(await readFile(tag, 'utf8'), 'a longer content');
    const { calls } = await mounted.counts();
    await mounted.command('expire 1 tag');
    await until('the name is asked for again', async () => {
      await stat(tag);
      return ((await mounted.counts()).calls['lookup'] ?? 0) > (calls['lookup'] ?? 0);
    });
  });
});

describe('native driver: content that changes', { skip: skipWithoutMount('native') }, () => {
  test('after a notification also an open file shows it, with its size', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    const path = join(mounted.path, 'tag');
    const file = await open(path, 'r');
    t.after(() => file.close());
    const readOpen = async (): Promise<string> => {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(100), 0, 100, 0);
      return buffer.toString('utf8', 0, bytesRead);
    };
    assert.equal(await readOpen(), 'old');
    const { inode } = (await mounted.command('grow new, and longer')) as { inode: number };
    assert.equal(await readOpen(), 'old', 'its page is kept');
    await mounted.command(`expire-content ${inode}`);
    await until('the new content', async () => (await readOpen()) === 'new, and longer');
    assert.equal((await stat(path)).size, 15);
    assert.equal(await readFile(path, 'utf8'), 'new, and longer');
  });

  test(
    'a notification about pages that are being read waits for nobody who matters',
    { timeout },
    async (t) => {
      const mounted = await mountSample('native');
      t.after(() => mounted.dispose());
      const { ino } = await stat(join(mounted.path, 'stuck'));
      await stuckReader(mounted, 'stuck');
      await mounted.command(`expire-content ${ino}`);
      await sleep(100);
      assert.equal(await readFile(join(mounted.path, 'hello'), 'utf8'), 'hello world\n');
      assert.ok((await stat(join(mounted.path, 'big'))).isFile());
      await mounted.command('force');
      await mounted.closed;
    },
  );
});

describe('native driver: waits that end', { skip: skipWithoutMount('native') }, () => {
  for (const [name, signal] of [
    ['slow', 'SIGINT'],
    ['slow', 'SIGKILL'],
    ['stuck', 'SIGTERM'],
    ['stuck', 'SIGKILL'],
  ] as const) {
    test(`${signal} ends a reader of ${name}, and the work for it`, { timeout }, async (t) => {
      const mounted = await mountSample('native');
      t.after(() => mounted.dispose());
      const { child, exit } = await stuckReader(mounted, name);
      child.kill(signal);
      assert.equal((await exit)[1], signal);
      // Of a page that is being read nobody tells the driver: the reader goes, the read stays until its deadline.
      if (name === 'slow') {
        await until('nothing waits', async () => (await mounted.statistics())['pending'] === 0);
      }
    });
  }

  test(
    'a signal that a program handles does not end its read, a later fatal one does',
    { timeout },
    async (t) => {
      const mounted = await mountSample('native');
      t.after(() => mounted.dispose());
      const program = `
      process.on('SIGCHLD', () => {});
      require('node:fs').readFileSync(process.argv[1]);`;
      const child = spawn(process.execPath, ['-e', program, join(mounted.path, 'slow')], {
        stdio: 'ignore',
      });
      t.after(() => child.kill('SIGKILL'));
      await until('the read waits', async () => ((await mounted.statistics())['pending'] ?? 0) > 0);
      child.kill('SIGCHLD');
      await until(
        'the signal was looked at',
        async () => ((await mounted.statistics())['interruptsIgnored'] ?? 0) > 0,
      );
      await sleep(300);
      assert.equal(child.exitCode, null);
      assert.equal((await mounted.statistics())['pending'], 1);
      child.kill('SIGKILL');
      await once(child, 'exit', { signal: AbortSignal.timeout(3_000) });
    },
  );

  test('a forced unmount ends readers with an error', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    const { exit } = await stuckReader(mounted, 'stuck');
    await mounted.command('force');
    assert.equal((await exit)[0], 1);
  });
});
