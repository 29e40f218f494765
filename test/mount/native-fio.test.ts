/**
 * fio's verification through the mount: every block that arrives says where it belongs and what it must hold. Eight
 * jobs at once read a file that is made while they read it, by read(2) and through mappings.
 *
 * `IMGFS_TEST_FIO_MIB=4096` for a larger file.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { mustRun, run, skipWithout } from '../support/child.js';
import { mountTree, skipWithoutMount } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const mebibytes = Number(process.env['IMGFS_TEST_FIO_MIB'] ?? 32);
const timeout = 120_000 + mebibytes * 200;

const verify = [
  '--verify=crc32c',
  '--verify_interval=4k',
  '--verify_fatal=1',
  '--verify_state_save=0',
  `--size=${mebibytes}m`,
];

/** Reads at random: of 4 KiB to 1 MiB, and page by page through mappings; four jobs of each. */
const readers = [
  '--rw=randread', ...verify, '--numjobs=4', '--group_reporting', '--output-format=terse',
  '--name=read', '--ioengine=psync', '--bsrange=4k-1m', '--norandommap',
  '--name=mapped', '--rw=randread', ...verify, '--numjobs=4', '--ioengine=mmap', '--bs=4k',
]; // prettier-ignore

describe('native driver: fio', { skip: skipWithoutMount('native') || skipWithout('fio') }, () => {
  test(`eight jobs verify ${mebibytes} MiB while they are fetched`, { timeout }, async (t) => {
    const folder = await makeTempDir('fio');
    t.after(() => removeTempDir(folder));
    const source = join(folder, 'source');
    const write = ['--name=write', '--rw=write', '--bs=4k', '--do_verify=0', '--output-format=terse'];
    await mustRun('fio', [`--filename=${source}`, ...verify, ...write], { timeoutMs: timeout });
    const environment = { IMGFS_TEST_SOURCE: source };
    const mounted = await mountTree('sample', 'native', {}, [], environment);
    t.after(() => mounted.dispose());
    const words = [`--filename=${join(mounted.path, 'fetched')}`, ...readers];
    const { code, stdout, stderr } = await run('fio', words, { timeoutMs: timeout });
    assert.equal(code, 0, stdout + stderr);
    const { fills } = await mounted.counts();
    const { backedReads } = await mounted.statistics();
    t.diagnostic(`${fills.length} fills, ${backedReads} reads from the file behind`);
    assert.ok(fills.length > 0);
    // The suite has teeth: one byte of the source is not what it was.
    await mustRun('dd', ['if=/dev/zero', `of=${source}`, 'bs=64', 'count=1', 'seek=20000', 'conv=notrunc']);
    const other = await mountTree('sample', 'native', {}, [], environment);
    t.after(() => other.dispose());
    const wrong = await run('fio', [`--filename=${join(other.path, 'fetched')}`, ...readers], {
      timeoutMs: timeout,
    });
    assert.notEqual(wrong.code, 0, 'a wrong block went by');
  });
});
