import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { parseEstargzFooter } from '../../../../src/layer/foreign/estargz-footer.js';
import { FlatBuilder } from '../../../../src/layer/foreign/flat-builder.js';
import { FlatTable } from '../../../../src/layer/foreign/flat-buffer.js';
import { gzipHeaderBytes } from '../../../../src/layer/foreign/gzip-header.js';
import { formatTime, parseTime } from '../../../../src/layer/foreign/rfc3339.js';
import { parseTocEntry } from '../../../../src/layer/foreign/toc-entry.js';
import { TocScanner } from '../../../../src/layer/foreign/toc-scanner.js';
import { parseZinfo } from '../../../../src/layer/foreign/zinfo.js';
import { parseZtoc } from '../../../../src/layer/foreign/ztoc.js';
import { writeZtoc } from '../../../../src/layer/foreign/write-ztoc.js';
import { layerOf } from '../../../support/layer-tables.js';
import { estargzFooter, externalFooter, legacyFooter } from '../../../support/toc-layers.js';

const options = { timeout: 60_000 };

/** Run, and accept no failure but a refusal. */
function refuses<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (isImgfsError(error, 'invalid-content')) return undefined;
    throw error;
  }
}

/** Entries as the scanner gives them, from text cut at these places. */
function scan(text: string, cuts: readonly number[]): unknown {
  const entries: unknown[] = [];
  const scanner = new TocScanner((value) => entries.push(value));
  const bytes = Buffer.from(text);
  let at = 0;
  for (const cut of [...cuts.map((each) => each % (bytes.length + 1)), bytes.length].toSorted(
    (a, b) => a - b,
  )) {
    scanner.push(bytes.subarray(at, cut));
    at = Math.max(at, cut);
  }
  return { ...scanner.finish(), entries };
}

const value = fc.jsonValue({ maxDepth: 5 });
const table = fc.record({
  version: fc.integer(),
  before: value,
  entries: fc.array(fc.dictionary(fc.string(), value), { maxLength: 12 }),
  behind: value,
});

test('the scanner says what JSON.parse says, wherever the text is cut', options, () => {
  fc.assert(
    fc.property(
      table,
      fc.array(fc.nat(), { maxLength: 6 }),
      fc.constantFrom('', ' ', '\t'),
      (toc, cuts, indent) => {
        const text = JSON.stringify(toc, undefined, indent);
        assert.deepEqual(scan(text, cuts), JSON.parse(text));
      },
    ),
    { numRuns: 300 },
  );
});

test('the scanner refuses what is cut off or changed, and nothing else happens', options, () => {
  fc.assert(
    fc.property(table, fc.nat(), fc.nat(), fc.string({ maxLength: 3 }), (toc, at, length, insert) => {
      const text = JSON.stringify(toc);
      const from = at % text.length;
      const changed = text.slice(0, from) + insert + text.slice(from + (length % 5));
      const read = refuses(() => scan(changed, []));
      if (read !== undefined) assert.deepEqual(read, JSON.parse(changed));
    }),
    { numRuns: 500 },
  );
});

test('an entry is read or refused', options, () => {
  const field = fc.oneof(value, fc.constantFrom('reg', 'chunk', 'dir', 'char', 'sha256:00', -1, 2 ** 60));
  const names = [
    'name',
    'type',
    'size',
    'mode',
    'uid',
    'offset',
    'chunkOffset',
    'chunkDigest',
    'xattrs',
    'modtime',
  ];
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names), field), (entry) => {
      const read = refuses(() => parseTocEntry(entry));
      if (read === undefined) return;
      for (const number of [read.size, read.offset, read.chunkOffset, read.chunkSize])
        assert.ok(Number.isSafeInteger(number) && number >= 0);
      assert.ok(read.mode >= 0 && read.mode <= 0o7777);
    }),
    { numRuns: 1000 },
  );
});

test('times come back as they went', options, () => {
  const seconds = fc.bigInt({ min: -62_000_000_000n, max: 200_000_000_000n });
  fc.assert(
    fc.property(seconds, fc.bigInt({ min: 0n, max: 999_999_999n }), (second, ns) => {
      const time = second * 1_000_000_000n + ns;
      assert.equal(parseTime(formatTime(time)), time);
    }),
  );
  assert.equal(parseTime('2021-01-01T01:00:00.5+01:00'), 1_609_459_200_500_000_000n);
  assert.equal(parseTime('2021-13-01T00:00:00Z'), undefined);
  assert.equal(parseTime('2021-01-01T24:00:00Z'), undefined);
});

test('a footer is read for what it is, and nothing else is one', options, () => {
  fc.assert(
    fc.property(fc.nat(), fc.uint8Array({ maxLength: 60 }), (offset, before) => {
      const behind = (footer: Buffer): Buffer => Buffer.concat([before, footer]);
      assert.deepEqual(parseEstargzFooter(behind(estargzFooter(offset))), { kind: 'inside', tocOffset: offset, footerBytes: 51 }); // prettier-ignore
      assert.deepEqual(parseEstargzFooter(behind(legacyFooter(offset))), { kind: 'inside', tocOffset: offset, footerBytes: 47 }); // prettier-ignore
      assert.deepEqual(parseEstargzFooter(behind(externalFooter())), { kind: 'external', footerBytes: 46 });
      assert.equal(parseEstargzFooter(before), undefined);
    }),
  );
});

test('a gzip header has the length it has', options, () => {
  assert.equal(gzipHeaderBytes(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1])), 10);
  const named = Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 3, 2, 0, 9, 9]),
    Buffer.from('a\0b\0xx'),
  ]);
  assert.equal(gzipHeaderBytes(named), 20);
  assert.equal(gzipHeaderBytes(named.subarray(0, 17)), undefined);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => void gzipHeaderBytes(bytes)));
});

test('what the builder writes is what the reader reads', options, () => {
  const number = fc.maxSafeInteger();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.uint8Array(), number), { maxLength: 30 }),
      fc.uint8Array(),
      (rows, blob) => {
        const builder = new FlatBuilder();
        const tables = rows.map(([bytes, count]) => {
          const text = builder.string(bytes);
          return builder.table([
            { slot: 0, kind: 'offset', value: text },
            { slot: 2, kind: 'int64', value: count },
            { slot: 3, kind: 'int8', value: count % 100, byDefault: 1 },
            { slot: 5, kind: 'uint32', value: Math.abs(count) % 2 ** 32 },
          ]);
        });
        const vector = builder.vector(tables);
        const bytes = builder.byteVector(blob);
        const root = FlatTable.root(
          builder.finish(builder.table([{ slot: 1, kind: 'offset', value: vector }, { slot: 0, kind: 'offset', value: bytes }])), // prettier-ignore
        );
        assert.deepEqual(Uint8Array.from(root.bytes(0)), blob);
        assert.equal(root.count(1), rows.length);
        for (const [index, [text, count]] of rows.entries()) {
          const row = root.tableIn(1, index);
          assert.deepEqual(Uint8Array.from(row.bytes(0)), text);
          assert.equal(row.int64(2), count);
          assert.equal(row.int8(3, 1), (count % 100) + 0);
          assert.equal(row.uint32(5), Math.abs(count) % 2 ** 32);
          assert.equal(row.int64(4), 0);
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('bytes that are no zTOC are refused', options, async () => {
  const bytes = await writeZtoc({
    buildTool: 'test',
    compressedSize: 100,
    uncompressedSize: 5000,
    spanBytes: 1000,
    table: layerOf('a/', 'a/b=hello', 'a/c->b', 'a/d=>a/b'),
    names: new Map(),
    checkpoints: [{ in: 10, out: 0, bits: 0, window: new Uint8Array(0) }],
    spanDigests: [new Uint8Array(32)],
  });
  const readAll = (ztoc: Uint8Array): void => {
    refuses(() => {
      const read = parseZtoc(ztoc);
      // A claim of a billion files is not gone through here: each costs four bytes that are there.
      for (let index = 0; index < Math.min(read.fileCount, 100); index += 1) read.file(index);
      parseZinfo(read.checkpoints);
    });
  };
  readAll(bytes);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), readAll), { numRuns: 500 });
  const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const copy = Uint8Array.from(bytes);
      for (const [at, byte] of changes) copy[at] = byte;
      readAll(copy);
    }),
    { numRuns: 2000 },
  );
});
