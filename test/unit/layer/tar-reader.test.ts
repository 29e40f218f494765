import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TarEntry } from '../../../src/layer/tar/tar-entry.js';
import { base256, gnuLong, paxEntry, rawEntry, rawHeader, rawTar } from '../../support/raw-tar.js';
import { readTar } from '../../support/read-tar.js';
import { tempDir } from '../../support/temp.js';

const options = { timeout: 20_000 };

function only(archive: Uint8Array): TarEntry {
  const [entry, ...more] = readTar(archive);
  assert.equal(more.length, 0);
  assert.ok(entry);
  return entry;
}

test('a ustar entry has all its fields', options, () => {
  const entry = only(
    rawTar(
      rawEntry(
        { name: 'a/b', mode: 0o4755, uid: 1000, gid: 100, mtime: 12, prefix: 'long', linkName: 'x' },
        'hello',
      ),
    ),
  );
  assert.deepEqual(
    { ...entry, xattrs: entry.xattrs.size },
    {
      kind: 'file',
      typeFlag: 0x30,
      path: 'long/a/b',
      linkPath: '',
      mode: 0o4755,
      uid: 1000,
      gid: 100,
      size: 5,
      mtimeNs: 12_000_000_000n,
      devMajor: 0,
      devMinor: 0,
      headerOffset: 0,
      dataOffset: 512,
      storedSize: 5,
      xattrs: 0,
      sparse: undefined,
    },
  );
});

test('every kind is told by its type flag', options, () => {
  const flags = ['0', '\0', '7', '5', '2', '1', '3', '4', '6', 'V'];
  const entries = readTar(rawTar(...flags.map((type) => rawEntry({ type, devMajor: 8, devMinor: 1 }))));
  assert.deepEqual(
    entries.map((entry) => entry.kind),
    ['file', 'file', 'file', 'directory', 'symlink', 'hardlink', 'char', 'block', 'fifo', 'other'],
  );
  assert.deepEqual(
    entries.map((entry) => entry.devMajor),
    [0, 0, 0, 0, 0, 0, 8, 8, 0, 0],
  );
});

test('names, links and xattrs are bytes, not text', options, () => {
  const value = Uint8Array.of(1, 0, 0xff, 0xfe, 0x0a, 0x3d);
  const entry = only(
    rawTar(
      paxEntry([
        ['path', 'na\xff\xfe'],
        ['SCHILY.xattr.security.capability', value],
        ['SCHILY.xattr.user.empty', ''],
      ]),
      rawEntry({}),
    ),
  );
  assert.equal(entry.path, 'na\xff\xfe');
  assert.deepEqual([...entry.xattrs], [['security.capability', value]]);
});

test('base-256 numbers, also negative ones', options, () => {
  const entry = only(
    rawTar(
      rawHeader({
        format: 'gnu',
        type: '5',
        uid: base256(3_000_000_000n, 8),
        gid: base256(-1n, 8),
        mtime: base256(-5n, 12),
      }),
    ),
  );
  assert.deepEqual([entry.uid, entry.gid, entry.mtimeNs], [3_000_000_000, 0xffff_ffff, -5_000_000_000n]);
});

test('times below a second and before the epoch', options, () => {
  const time = (text: string): bigint => only(rawTar(paxEntry([['mtime', text]]), rawEntry({}))).mtimeNs;
  assert.equal(time('1.5'), 1_500_000_000n);
  assert.equal(time('1.123456789123'), 1_123_456_789n);
  assert.equal(time('-1.25'), -1_250_000_000n);
  assert.equal(time('7.'), 7_000_000_000n);
  assert.equal(time('99999999999999999'), (1n << 63n) - 1n);
});

test('global headers are ignored, and forget what came before them, as in Go', options, () => {
  const [entry] = readTar(
    rawTar(paxEntry([['path', 'lost']]), paxEntry([['path', 'global']], 'g'), rawEntry({ name: 'own' })),
  );
  assert.equal(entry?.path, 'own');
});

test('a long name of GNU wins over one of PAX', options, () => {
  const entry = only(rawTar(paxEntry([['path', 'pax']]), gnuLong('L', 'gnu'), rawEntry({ name: 'own' })));
  assert.equal(entry.path, 'gnu');
  assert.equal(entry.headerOffset, 0);
  assert.equal(entry.dataOffset, 2560);
});

test('the size of a PAX header decides where the next entry begins', options, () => {
  const entries = readTar(
    rawTar(
      paxEntry([['size', '600']]),
      rawHeader({ name: 'a', size: 1 }),
      Buffer.alloc(1024),
      rawEntry({ name: 'b' }),
    ),
  );
  assert.deepEqual(
    entries.map((entry) => [entry.path, entry.size]),
    [
      ['a', 600],
      ['b', 0],
    ],
  );
});

test('links and directories have no data whatever their size says', options, () => {
  const entries = readTar(
    rawTar(rawHeader({ name: 'l', type: '1', size: 600 }), rawHeader({ name: 'd/', type: '5', size: 9 })),
  );
  assert.deepEqual(
    entries.map((entry) => [entry.path, entry.size]),
    [
      ['l', 0],
      ['d/', 0],
    ],
  );
});

test('an archive may end without its mark and without padding', options, () => {
  const bytes = rawEntry({ name: 'f' }, 'hello');
  assert.equal(only(bytes.subarray(0, 517)).size, 5);
  assert.equal(only(bytes).size, 5);
  assert.equal(only(Buffer.concat([bytes, Buffer.alloc(512)])).size, 5);
  assert.throws(() => readTar(bytes.subarray(0, 516)), /breaks off inside the data/);
  assert.throws(() => readTar(bytes.subarray(0, 511)), /breaks off inside a header/);
});

test('what follows the end mark is ignored', options, () => {
  assert.equal(readTar(Buffer.concat([rawTar(rawEntry({})), Buffer.from('anything')])).length, 1);
});

test('pieces of any length give the same entries', options, () => {
  const archive = rawTar(
    paxEntry([['path', 'p'.repeat(600)]]),
    rawEntry({}, 'x'.repeat(700)),
    gnuLong('K', 'l'.repeat(300)),
    rawEntry({ type: '2', name: 's' }),
  );
  const whole = readTar(archive);
  for (const cuts of [[1], [511, 1, 2], [512], [513], [100, 1000]]) {
    assert.deepEqual(readTar(archive, cuts), whole);
  }
});

for (const format of ['v7', 'ustar', 'oldgnu', 'gnu', 'posix']) {
  test(`what GNU tar writes as ${format} reads as it was`, options, async (t) => {
    const folder = await tempDir(t, 'tar');
    const source = join(folder, 'source');
    mkdirSync(join(source, 'd'.repeat(60)), { recursive: true });
    const file = join('d'.repeat(60), 'f'.repeat(35));
    writeFileSync(join(source, file), 'content', { mode: 0o640 });
    utimesSync(join(source, file), 1_600_000_000, 1_600_000_000.5);
    const archive = join(folder, 'a.tar');
    execFileSync('tar', ['-C', source, `--format=${format}`, '-cf', archive, '.'], { timeout: 10_000 });
    const entries = readTar(readFileSync(archive));
    const found = entries.find((entry) => entry.path === `./${file}`);
    assert.equal(found?.size, 7);
    assert.equal(found?.mode, statSync(join(source, file)).mode & 0o7777);
    const ns = format === 'posix' ? 1_600_000_000_500_000_000n : 1_600_000_000_000_000_000n;
    assert.equal(found?.mtimeNs, ns);
  });
}

for (const version of ['0.0', '0.1', '1.0', 'oldgnu']) {
  test(`a sparse file that GNU tar writes as ${version} has its holes`, options, async (t) => {
    const folder = await tempDir(t, 'tar');
    const file = join(folder, 'sparse');
    writeFileSync(file, '');
    truncateSync(file, 40 << 20);
    // More than 25 pieces, so that the old format needs extension blocks.
    const written = Array.from({ length: 30 }, (_, index) => index * (1 << 20));
    for (const at of written)
      execFileSync('dd', [
        'if=/dev/urandom',
        `of=${file}`,
        'bs=4096',
        'count=1',
        `seek=${at / 4096}`,
        'conv=notrunc',
        'status=none',
      ]);
    const format =
      version === 'oldgnu' ? ['--format=gnu'] : ['--format=posix', `--sparse-version=${version}`];
    const archive = join(folder, 'a.tar');
    execFileSync('tar', ['-C', folder, ...format, '-S', '-cf', archive, 'sparse'], { timeout: 10_000 });
    const bytes = readFileSync(archive);
    const entry = only(bytes);
    assert.equal(entry.path, 'sparse');
    assert.equal(entry.size, 40 << 20);
    const rebuilt = Buffer.alloc(entry.size);
    let at = entry.dataOffset;
    for (const piece of entry.sparse ?? []) {
      rebuilt.set(bytes.subarray(at, at + piece.length), piece.offset);
      at += piece.length;
    }
    assert.ok(rebuilt.equals(readFileSync(file)));
    assert.ok(entry.storedSize < 1 << 20);
  });
}
