import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Extents } from '../../../src/content/extents.js';

const limit = 40;
const range = fc
  .tuple(fc.integer({ min: 0, max: limit }), fc.integer({ min: 0, max: limit }))
  .map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }));
const operation = fc.record({ add: fc.boolean(), range });

test('extents agree with a set of bytes, whatever is added and removed', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 30 }), range, (operations, probe) => {
      const extents = new Extents();
      const model = new Set<number>();
      for (const { add, range } of operations) {
        const before = model.size;
        for (let at = range.start; at < range.end; at += 1) {
          if (add) model.add(at);
          else model.delete(at);
        }
        const changed = add ? extents.add(range.start, range.end) : extents.remove(range.start, range.end);
        assert.equal(changed, Math.abs(model.size - before));
      }
      assert.equal(extents.bytes, model.size);
      const ranges = extents.ranges();
      assert.equal(extents.count, ranges.length);
      ranges.forEach((each, index) => {
        assert.ok(each.start < each.end, 'never empty');
        assert.ok((ranges[index - 1]?.end ?? -1) < each.start, 'sorted, disjoint, merged');
      });
      const bytes = ranges.flatMap(({ start, end }) =>
        Array.from({ length: end - start }, (_, i) => start + i),
      );
      assert.deepEqual(
        bytes,
        [...model].sort((a, b) => a - b),
      );
      const probed = Array.from({ length: probe.end - probe.start }, (_, i) => probe.start + i);
      assert.equal(
        extents.covers(probe.start, probe.end),
        probed.every((at) => model.has(at)),
      );
      const holes = extents.missing(probe.start, probe.end);
      const missing = holes.flatMap(({ start, end }) =>
        Array.from({ length: end - start }, (_, i) => start + i),
      );
      assert.deepEqual(
        missing,
        probed.filter((at) => !model.has(at)),
      );
      assert.equal(
        extents.nextMissing(probe.start, probe.end),
        probed.find((at) => !model.has(at)) ?? probe.end,
      );
    }),
    { numRuns: 500 },
  );
});

test('presentUntil and missingUntil say where things change', () => {
  const extents = new Extents();
  extents.add(10, 20);
  assert.equal(extents.presentUntil(9), 9);
  assert.equal(extents.presentUntil(10), 20);
  assert.equal(extents.presentUntil(20), 20);
  assert.equal(extents.missingUntil(0), 10);
  assert.equal(extents.missingUntil(20), Infinity);
  extents.clear();
  assert.equal(extents.bytes, 0);
});
