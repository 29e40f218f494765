/** What every driver must do with the sample tree. Files of this folder run it over each driver. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { lstat, open, readdir, readFile, readlink, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { run, skipWithout } from '../support/child.js';
import { bigBytes, joinedContent, manyEntries, pattern, sparseBytes } from '../support/sample-tree.js';
import { mountSample, skipWithoutMount, type DriverName, type Mounted } from '../support/mounted.js';

const timeout = 30_000;

export function driverSuite(driver: DriverName): void {
  describe(`${driver}: reading the sample tree`, { skip: skipWithoutMount(driver) }, () => {
    let mounted: Mounted;
    const at = (...names: string[]): string => join(mounted.path, ...names);
    before(async () => {
      mounted = await mountSample(driver);
    });
    after(async () => {
      await mounted.dispose();
    });

    test('is listed in the mount table with type, name and inert options', { timeout }, async () => {
      const entry = await findMount(mounted.path);
      assert.equal(entry?.type, 'fuse.imgfs');
      assert.equal(entry?.source, 'sample');
      const options = (await readFile('/proc/self/mounts', 'utf8'))
        .split('\n')
        .find((line) => line.includes(mounted.path))
        ?.split(' ')[3]
        ?.split(',');
      for (const option of ['ro', 'nosuid', 'nodev']) assert.ok(options?.includes(option), option);
    });

    test('attributes arrive with type, mode, size and time', { timeout }, async () => {
      const facts = await stat(at('hello'), { bigint: true });
      assert.ok(facts.isFile());
      assert.equal(facts.mode & 0o7777n, 0o644n);
      assert.equal(facts.size, 12n);
      assert.equal(facts.mtimeMs, 1_700_000_000_123n);
      assert.ok((await stat(at('many'))).isDirectory());
      assert.ok((await lstat(at('link'))).isSymbolicLink());
    });

    test('content of plain, empty, large and linked files', { timeout }, async () => {
      assert.equal(await readFile(at('hello'), 'utf8'), 'hello world\n');
      assert.equal((await readFile(at('empty'))).length, 0);
      assert.ok((await readFile(at('plain'))).equals(pattern(0, 300_000)));
      assert.equal(await readFile(at('link'), 'utf8'), 'hello world\n');
      assert.equal(await readlink(at('link')), 'hello');
    });

    test('a whole file on disk, and a part of one', { timeout }, async () => {
      assert.ok((await readFile(at('big'))).equals(pattern(0, bigBytes)));
      assert.ok((await readFile(at('part'))).equals(pattern(4096, 104_096)));
    });

    test('a file that is made while it is read', { timeout }, async () => {
      assert.ok((await readFile(at('sparse'))).equals(pattern(0, sparseBytes)));
    });

    test('a file that is put together of others', { timeout }, async () => {
      const expected = joinedContent();
      assert.ok((await readFile(at('joined'))).equals(expected));
      const file = await open(at('joined'), 'r');
      try {
        for (let i = 0; i < 200; i += 1) {
          const start = (i * 7_919_033) % expected.length;
          const buffer = Buffer.alloc(1 + ((i * 104_729) % 200_000));
          const { bytesRead } = await file.read(buffer, 0, buffer.length, start);
          const right = expected.subarray(start, start + buffer.length);
          assert.ok(buffer.subarray(0, bytesRead).equals(right), `${start}+${buffer.length}`);
        }
      } finally {
        await file.close();
      }
    });

    test('random reads of whole and of sparse files agree with the bytes', { timeout }, async () => {
      let seed = 12345;
      const next = (below: number): number => {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        return seed % below;
      };
      for (const [name, size] of [
        ['big', bigBytes],
        ['sparse', sparseBytes],
        ['plain', 300_000],
      ] as const) {
        const file = await open(at(name), 'r');
        try {
          for (let i = 0; i < 100; i += 1) {
            const start = next(size);
            const length = 1 + next(70_000);
            const buffer = Buffer.alloc(length);
            const { bytesRead } = await file.read(buffer, 0, length, start);
            const expected = pattern(start, Math.min(size, start + length));
            assert.equal(bytesRead, expected.length, `${name} ${start}+${length}`);
            assert.ok(buffer.subarray(0, bytesRead).equals(expected), `${name} ${start}+${length}`);
          }
        } finally {
          await file.close();
        }
      }
    });

    test('eight readers at random places see the expected bytes', { timeout }, async () => {
      const reader = async (seed: number): Promise<void> => {
        const file = await open(at('sparse'), 'r');
        try {
          let state = seed;
          const buffer = Buffer.alloc(20_000);
          for (let i = 0; i < 100; i += 1) {
            state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
            const start = state % (sparseBytes - buffer.length);
            const { bytesRead } = await file.read(buffer, 0, 1 + (state % buffer.length), start);
            assert.ok(buffer.subarray(0, bytesRead).equals(pattern(start, start + bytesRead)), `at ${start}`);
          }
        } finally {
          await file.close();
        }
      };
      await Promise.all(Array.from({ length: 8 }, (_, index) => reader(index + 1)));
    });

    const noDirectIo = driver === 'fuse-native' ? 'libfuse 2 has no direct I/O for a single file' : false;
    test('content of unknown size is read to its end', { timeout, skip: noDirectIo }, async () => {
      const { stdout, code } = await run('cat', [at('made')]);
      assert.equal(code, 0);
      assert.equal(stdout, 'made anew');
    });

    test('listings are whole, of any size, and can be read twice', { timeout }, async () => {
      const names = await readdir(at('many'));
      assert.equal(names.length, manyEntries);
      assert.equal(new Set(names).size, manyEntries);
      assert.ok(names.includes('file-99999'));
      assert.equal((await readdir(at('many'))).length, manyEntries);
      const fixed = await readdir(at('fixed'), { withFileTypes: true });
      assert.equal(fixed.length, 52);
      assert.ok(fixed.find((entry) => entry.name === 'deep')?.isDirectory());
      assert.ok(fixed.find((entry) => entry.name === 'link')?.isSymbolicLink());
      assert.equal(await readFile(at('fixed', 'deep', 'x'), 'utf8'), 'deep x');
    });

    test('absent names are ENOENT, also in directories known to be complete', { timeout }, async () => {
      await assert.rejects(stat(at('absent')), { code: 'ENOENT' });
      await assert.rejects(stat(at('fixed', 'absent')), { code: 'ENOENT' });
      await readdir(at('fixed'));
      await assert.rejects(stat(at('fixed', 'absent too')), { code: 'ENOENT' });
      assert.equal(await readFile(at('fixed', 'f7'), 'utf8'), 'content 7');
    });

    test(
      'a defect reads as EIO, a typed failure as its errno, and the mount lives on',
      { timeout },
      async () => {
        await assert.rejects(stat(at('throws', 'type-error')), { code: 'EIO' });
        await assert.rejects(stat(at('throws', 'denied')), { code: 'EACCES' });
        await assert.rejects(stat(at('throws', 'late')), { code: 'ETIMEDOUT' });
        assert.equal(await readFile(at('hello'), 'utf8'), 'hello world\n');
        const { errors } = await mounted.counts();
        assert.ok(
          errors.some((line) => line.includes('a defect')),
          errors.join('\n'),
        );
      },
    );

    test('a failed fill is an error, a full cache is not', { timeout }, async () => {
      await assert.rejects(readFile(at('broken')), { code: 'EIO' });
      assert.ok((await readFile(at('cache-full'))).equals(pattern(0, 1_000_000)));
    });

    test('everything that writes is refused', { timeout }, async () => {
      await assert.rejects(open(at('new'), 'w'), { code: 'EROFS' });
      await assert.rejects(open(at('hello'), constants.O_RDWR), { code: 'EROFS' });
    });

    test('sizes of the file system', { timeout }, async () => {
      const facts = await statfs(mounted.path);
      assert.equal(facts.bsize, 4096);
      assert.equal(facts.blocks, 1000);
      assert.equal(facts.bfree, 250);
    });

    test('extended attributes', { timeout, skip: skipWithout('getfattr') }, async () => {
      const one = await run('getfattr', ['--only-values', '-n', 'user.oci.digest', at('hello')]);
      assert.equal(one.stdout, 'sha256:1', one.stderr);
      const none = await run('getfattr', ['-n', 'user.absent', at('hello')]);
      assert.match(none.stderr, /No such attribute/);
      const list = await run('getfattr', ['-d', at('hello')]);
      assert.match(list.stdout, /user\.oci\.digest/);
      const foreign = await run('getfattr', ['-n', 'security.capability', at('hello')]);
      assert.match(foreign.stderr, /No such attribute|not supported/);
    });

    test('eight readers at once see the same bytes', { timeout }, async () => {
      const digests = await Promise.all(
        Array.from({ length: 8 }, async (_, index) => {
          const { stdout } = await run('sha256sum', [at(index % 2 === 0 ? 'sparse' : 'big')]);
          return stdout.split(' ')[0];
        }),
      );
      assert.equal(new Set(digests).size, 2);
    });

    test('handles come back when files are closed', { timeout }, async () => {
      await readFile(at('hello'));
      await readdir(at('fixed'));
      // RELEASE is sent after close(2) has returned.
      const until = Date.now() + 5_000;
      for (;;) {
        const { openFiles, openDirectories } = await mounted.counts();
        if (openFiles === 0 && openDirectories === 0) break;
        assert.ok(Date.now() < until, `${openFiles} files and ${openDirectories} directories are open`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    });
  });

  describe(`${driver}: coming and going`, { skip: skipWithoutMount(driver) }, () => {
    test('unmounting is refused while a file is open, unless forced', { timeout }, async (t) => {
      const mounted = await mountSample(driver);
      t.after(() => mounted.dispose());
      const file = await open(join(mounted.path, 'plain'), 'r');
      await assert.rejects(mounted.command('unmount'), /busy/);
      assert.equal((await file.read(Buffer.alloc(10), 0, 10, 0)).bytesRead, 10);
      await file.close();
      await mounted.command('unmount');
      await mounted.closed;
      assert.equal(await findMount(mounted.path), undefined);
    });

    test('unmounted by somebody else: the session closes', { timeout }, async (t) => {
      const mounted = await mountSample(driver);
      t.after(() => mounted.dispose());
      await unmountPath(mounted.path, { lazy: false });
      await mounted.closed;
    });

    test('an operation that takes too long is ETIMEDOUT', { timeout }, async (t) => {
      const mounted = await mountSample(driver, { operationTimeoutMs: 500 });
      t.after(() => mounted.dispose());
      const { stderr } = await run('cat', [join(mounted.path, 'slow')]);
      assert.match(stderr, /timed out/i);
      const { stderr: fill } = await run('cat', [join(mounted.path, 'stuck')]);
      assert.match(fill, /timed out|Input\/output/i);
      const { errors } = await mounted.counts();
      assert.ok(
        errors.some((line) => line.includes('no answer within 500 ms')),
        errors.join('\n'),
      );
    });

    test('other work goes on while one operation waits', { timeout }, async (t) => {
      const mounted = await mountSample(driver, { operationTimeoutMs: 3_000 });
      t.after(() => mounted.dispose());
      const waiting = spawn('cat', [join(mounted.path, 'slow-dir', 'file')], { stdio: 'ignore' });
      const ended = once(waiting, 'exit');
      assert.equal(
        (await run('cat', [join(mounted.path, 'hello')], { timeoutMs: 2_000 })).stdout,
        'hello world\n',
      );
      await ended;
    });
  });
}
