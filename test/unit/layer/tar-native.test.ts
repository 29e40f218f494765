import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { layerAddon } from '../../../src/layer/native/layer-addon.js';
import { decodeEntry, encodeEntry } from '../../../src/layer/tar/entry-record.js';
import { base256, gnuLong, paxEntry, paxRecord, rawEntry, rawHeader, tarEnd } from '../../support/raw-tar.js';
import { nativeOutcome, readTar, referenceOutcome } from '../../support/read-tar.js';

const withAddon = { timeout: 60_000, skip: layerAddon() === undefined ? 'the addon is not built' : false };

const text = (maxLength: number): fc.Arbitrary<string> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1').replaceAll('\0', '/'));

const numbers = fc.oneof(
  fc.integer({ min: 0, max: 0o7777777 }),
  fc.bigInt({ min: -(1n << 62n), max: 1n << 62n }).map((value) => base256(value, 8)),
);

const header = fc.record(
  {
    name: text(100),
    mode: fc.integer({ min: 0, max: 0o7777777 }),
    uid: numbers,
    gid: numbers,
    mtime: fc.oneof(
      fc.nat(),
      fc.bigInt({ min: -(1n << 80n), max: 1n << 80n }).map((value) => base256(value, 12)),
    ),
    type: fc.constantFrom('0', '\0', '1', '2', '3', '4', '5', '6', '7', 'S', 'V', 'g', 'A'),
    linkName: text(100),
    format: fc.constantFrom('ustar' as const, 'gnu' as const, 'v7' as const, 'star' as const),
    prefix: text(40),
    devMajor: fc.nat(0o7777777),
    checksum: fc.constantFrom(
      'unsigned' as const,
      'unsigned' as const,
      'unsigned' as const,
      'signed' as const,
    ),
  },
  { requiredKeys: ['type'] },
);

const paxKeys = [
  'path', 'linkpath', 'size', 'uid', 'gid', 'mtime', 'comment', 'SCHILY.xattr.user.a', 'SCHILY.xattr.',
  'GNU.sparse.major', 'GNU.sparse.minor', 'GNU.sparse.name', 'GNU.sparse.realsize', 'GNU.sparse.size',
  'GNU.sparse.map', 'GNU.sparse.numblocks', 'GNU.sparse.offset', 'GNU.sparse.numbytes',
]; // prettier-ignore

const paxValue = fc.oneof(
  text(30),
  fc.constantFrom(
    '0',
    '1',
    '',
    '-1',
    '512',
    '0,1',
    '0,0,10,5',
    '1.25',
    '-3.',
    '9223372036854775808',
    '9007199254740993',
  ),
);

const part: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.tuple(header, fc.uint8Array({ maxLength: 1200 })).map(([fields, data]) => rawEntry(fields, data)),
  header.map((fields) => rawHeader({ ...fields, size: 700 })),
  fc
    .array(fc.tuple(fc.constantFrom(...paxKeys), paxValue), { maxLength: 6 })
    .map((records) => paxEntry(records)),
  text(600).map((name) => gnuLong('L', name)),
  text(600).map((name) => gnuLong('K', name)),
  fc.constant(tarEnd),
  fc.constant(Buffer.alloc(512)),
  fc.constantFrom('1\n0\n512\n', '2\n0\n1\n5\n9\n', '0\n', '1\n0\n', 'x').map((map) =>
    Buffer.concat([
      paxEntry([
        ['GNU.sparse.major', '1'],
        ['GNU.sparse.minor', '0'],
        ['GNU.sparse.realsize', '4096'],
      ]),
      rawEntry({ name: 'sparse' }, map.padEnd(512, '\0') + 'd'.repeat(512)),
    ]),
  ),
);

const cuts = fc.array(fc.integer({ min: 1, max: 1500 }), { maxLength: 4 });

async function sameOutcome(archive: Uint8Array, lengths: readonly number[]): Promise<void> {
  const wanted = referenceOutcome(archive, lengths);
  assert.deepEqual(await nativeOutcome(archive, lengths), wanted);
}

test('the native parser and the reader agree on any sequence of entries', withAddon, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 8 }), cuts, async (parts, lengths) =>
      sameOutcome(Buffer.concat(parts), lengths),
    ),
    { numRuns: 1500 },
  );
});

test('they agree on archives with flipped bytes and cut ends', withAddon, async () => {
  const flips = fc.array(fc.tuple(fc.nat(1 << 14), fc.integer({ min: 1, max: 255 })), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(part, { minLength: 1, maxLength: 5 }),
      flips,
      fc.nat(600),
      async (parts, at, cut) => {
        const archive = Buffer.concat(parts);
        for (const [offset, mask] of at) {
          const place = offset % archive.length;
          archive[place] = (archive[place] ?? 0) ^ mask;
        }
        await sameOutcome(archive.subarray(0, Math.max(0, archive.length - cut)), []);
      },
    ),
    { numRuns: 1000 },
  );
});

test('they agree on extended headers that are no records', withAddon, async () => {
  const payloads = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc
      .constantFrom(
        '5 a=\n',
        '4 a=\n',
        '6 a=\n',
        '05 a=\n',
        '+5 a=\n',
        '9 =abcd\n',
        '7 a b \n',
        '99999999999999999999 a=\n',
      )
      .map((record) => Buffer.from(record)),
    text(20).map((value) => Buffer.concat([paxRecord('k', value), Buffer.from('12')])),
  );
  await fc.assert(
    fc.asyncProperty(payloads, async (payload) => {
      await sameOutcome(Buffer.concat([rawEntry({ type: 'x' }, payload), rawEntry({}), tarEnd]), []);
    }),
    { numRuns: 500 },
  );
});

test('a megabyte of tiny records is read at once by both', { timeout: 20_000 }, async () => {
  const records = Buffer.concat(
    Array.from({ length: 90_000 }, (_, index) => paxRecord(`k${index.toString(36)}`, 'v')),
  );
  const archive = Buffer.concat([
    rawEntry({ type: 'x' }, records.subarray(0, 0)),
    rawEntry({ type: 'x' }, records),
    rawEntry({}),
  ]);
  const started = process.cpuUsage();
  const wanted = referenceOutcome(archive);
  assert.equal(wanted.error, '');
  const outcome = await nativeOutcome(archive);
  if (outcome !== undefined) assert.deepEqual(outcome, wanted);
  // A search through all records for each of them would take minutes.
  assert.ok(process.cpuUsage(started).user < 5_000_000);
});

test('a record survives being encoded and decoded', { timeout: 20_000 }, () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), (parts) => {
      let entries;
      try {
        entries = readTar(Buffer.concat(parts));
      } catch {
        return;
      }
      for (const entry of entries) {
        const bytes = encodeEntry(entry);
        const decoded = decodeEntry(bytes, 0);
        assert.equal(decoded.next, bytes.length);
        assert.deepEqual(encodeEntry(decoded.entry), bytes);
        assert.deepEqual(decoded.entry, entry);
      }
    }),
    { numRuns: 300 },
  );
});
