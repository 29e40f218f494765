import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Name } from '../../../src/oci/name.js';
import { Merger, type MergeInput } from '../../../src/layer/merge/merger.js';
import { mergeTables } from '../../../src/layer/merge/merge-layers.js';
import { at, layerOf, merge, show } from '../../support/layer-tables.js';

interface Case {
  readonly name: string;
  readonly layers: readonly (readonly string[])[];
  readonly tree: readonly string[];
  readonly problems?: number;
}

const cases: readonly Case[] = [
  { name: 'an upper file replaces a lower one', layers: [['f=1'], ['f=2']], tree: ['f 1'] },
  {
    name: 'a whiteout hides a lower file',
    layers: [['d/', 'd/f', 'd/g'], ['d/.wh.f']],
    tree: ['d/', 'd/g 0'],
  },
  { name: 'a whiteout hides a lower directory', layers: [['d/', 'd/e/', 'd/e/f'], ['.wh.d']], tree: [] },
  {
    name: 'a whiteout of what is not there does nothing',
    layers: [['f'], ['.wh.g', 'x/.wh.y']],
    tree: ['f 0'],
  },
  {
    name: 'a whiteout behind an entry of its own layer leaves the entry',
    layers: [['f=1'], ['f=2', '.wh.f']],
    tree: ['f 1'],
  },
  { name: 'a whiteout before it does too', layers: [['f=1'], ['.wh.f', 'f=2']], tree: ['f 1'] },
  {
    name: 'an opaque directory hides what is below it',
    layers: [
      ['d/', 'd/f', 'd/e/', 'd/e/g'],
      ['d/', 'd/.wh..wh..opq', 'd/h'],
    ],
    tree: ['d/', 'd/h 1'],
  },
  {
    name: 'an opaque mark behind the entries of its layer leaves them',
    layers: [
      ['d/', 'd/f', 'd/e/', 'd/e/g'],
      ['d/', 'd/e/', 'd/e/h', 'd/.wh..wh..opq'],
    ],
    tree: ['d/', 'd/e/', 'd/e/h 1'],
  },
  {
    name: 'an opaque root',
    layers: [
      ['f', 'd/', 'd/g'],
      ['.wh..wh..opq', 'h'],
    ],
    tree: ['h 1'],
  },
  { name: 'other marks of aufs are no files', layers: [['.wh..wh.plnk/', '.wh..wh.aufs']], tree: [] },
  {
    name: 'a whiteout of nothing is a problem',
    layers: [['f', '.wh.', 'd/.wh..', 'd/.wh...']],
    tree: ['f 0'],
    problems: 3,
  },
  { name: 'a directory over a file', layers: [['x'], ['x/', 'x/f']], tree: ['x/', 'x/f 1'] },
  { name: 'a file over a directory', layers: [['x/', 'x/f'], ['x']], tree: ['x 1'] },
  { name: 'a link over a directory', layers: [['x/', 'x/f'], ['x->y']], tree: ['x->y'] },
  {
    name: 'a directory over a link',
    layers: [
      ['y/', 'x->y'],
      ['x/', 'x/f'],
    ],
    tree: ['x/', 'x/f 1', 'y/'],
  },
  {
    name: 'a directory over a directory keeps what is in it',
    layers: [['d/', 'd/f'], ['d/#700']],
    tree: ['d/', 'd/f 0'],
  },
  { name: 'missing parents appear', layers: [['a/b/f']], tree: ['a/ implicit', 'a/b/ implicit', 'a/b/f 0'] },
  {
    name: 'a parent that is a file becomes a directory',
    layers: [['x'], ['x/f']],
    tree: ['x/ implicit', 'x/f 1'],
  },
  {
    name: 'a parent that is a link is followed',
    layers: [['usr/', 'usr/lib/', 'lib->usr/lib'], ['lib/f']],
    tree: ['lib->usr/lib', 'usr/', 'usr/lib/', 'usr/lib/f 1'],
  },
  {
    name: 'an absolute link in a parent stays inside',
    layers: [['l->/etc', 'l/passwd']],
    tree: ['etc/ implicit', 'etc/passwd 0', 'l->/etc'],
  },
  {
    name: 'a link that climbs stays inside',
    layers: [['a/', 'a/l->../../../../x', 'a/l/f']],
    tree: ['a/', 'a/l->../../../../x', 'x/ implicit', 'x/f 0'],
  },
  {
    name: 'a loop of links in a parent is a problem',
    layers: [['a->b', 'b->a', 'a/f']],
    tree: ['a->b', 'b->a'],
    problems: 1,
  },
  {
    name: 'a name that climbs stays inside',
    layers: [['../../etc/passwd']],
    tree: ['etc/ implicit', 'etc/passwd 0'],
  },
  { name: 'a hard link to a lower file', layers: [['f=1'], ['g=>f']], tree: ['f 0', 'g 0'] },
  {
    name: 'a hard link survives a whiteout of its target',
    layers: [['f=1'], ['g=>f'], ['.wh.f']],
    tree: ['g 0'],
  },
  { name: 'a hard link keeps what its target was', layers: [['f=1', 'g=>f'], ['f=2']], tree: ['f 1', 'g 0'] },
  {
    name: 'a hard link through a link',
    layers: [['d/', 'd/f', 'l->d', 'g=>l/f']],
    tree: ['d/', 'd/f 0', 'g 0', 'l->d'],
  },
  { name: 'a hard link to a link', layers: [['l->x', 'g=>l']], tree: ['g->x', 'l->x'] },
  { name: 'a hard link to nothing is a problem', layers: [['g=>f']], tree: [], problems: 1 },
  { name: 'a hard link to a directory is a problem', layers: [['d/', 'g=>d']], tree: ['d/'], problems: 1 },
  { name: 'a hard link to itself is a problem', layers: [['f', 'f=>f']], tree: ['f 0'], problems: 1 },
  {
    name: 'a hard link into what it replaces is a problem',
    layers: [['d/', 'd/f', 'd=>d/f']],
    tree: [],
    problems: 1,
  },
  { name: 'a hard link that climbs stays inside', layers: [['f', 'g=>../../f']], tree: ['f 0', 'g 0'] },
  { name: 'the last entry of a name holds', layers: [['f=1', 'f=2', 'f->x']], tree: ['f->x'] },
  { name: 'a file as root is a problem', layers: [['..=x', 'f']], tree: ['f 0'] },
  {
    name: 'what came back after a whiteout is new',
    layers: [['d/', 'd/f'], ['.wh.d'], ['d/', 'd/g']],
    tree: ['d/', 'd/g 2'],
  },
];

for (const { name, layers, tree, problems = 0 } of cases) {
  test(name, { timeout: 10_000 }, async () => {
    const merged = await merge(...layers);
    assert.deepEqual(show(merged), tree);
    assert.equal(merged.problemCount, problems);
  });
}

test('links are counted', { timeout: 10_000 }, async () => {
  const tree = await merge(['f=1', 'g=>f', 'd/', 'd/e/', 'd/h=>g', 'alone'], ['.wh.g']);
  assert.equal(at(tree, 'f').nlink, 2);
  assert.equal(at(tree, 'd/h').nlink, 2);
  assert.equal(at(tree, 'alone').nlink, 1);
  assert.equal(at(tree, 'd').nlink, 3);
  assert.equal(tree.attributes(tree.root).nlink, 3);
  assert.equal(tree.inode(tree.find('f' as Name) ?? 0), tree.inode(tree.find('d/h' as Name) ?? 0));
});

test('a directory has the attributes of its newest entry', { timeout: 10_000 }, async () => {
  const tree = await merge(['./#711', 'd/#700'], ['d/#1777']);
  assert.equal(at(tree, 'd').mode, 0o1777);
  assert.equal(tree.attributes(tree.root).mode, 0o711);
});

test('what one entry removes is gone through in pieces of bounded length', () => {
  const names = Array.from({ length: 3000 }, (_, index) => [
    `d/s${index % 7}/f${index}`,
    `d/g${index}`,
  ]).flat();
  for (const remover of ['.wh.d', 'd/.wh..wh..opq', 'd=1']) {
    const merger = new Merger();
    const lower: MergeInput = { table: layerOf('d/', ...names) };
    merger.startLayer(lower);
    for (let row = 0; row < lower.table.count; row += 1) merger.apply(lower, row);
    assert.ok(!merger.isBusy);
    const upper: MergeInput = { table: layerOf(remover) };
    merger.startLayer(upper);
    assert.ok(merger.apply(upper, 0) <= 8);
    let pieces = 0;
    for (; merger.isBusy; pieces += 1) assert.ok(merger.proceed(100) <= 102);
    assert.ok(pieces > 60, String(pieces));
    const living = Array.from({ length: merger.nodes.count }, (_, node) => node);
    const expected = remover === '.wh.d' ? 1 : 2;
    assert.equal(living.filter((node) => merger.nodes.isAlive(node)).length, expected, remover);
  }
});

test('a tree of one layer shows whiteouts as files', { timeout: 10_000 }, async () => {
  const tree = await mergeTables([{ table: layerOf('d/', 'd/.wh.f', 'd/.wh..wh..opq'), raw: true }]);
  assert.deepEqual(show(tree), ['d/', 'd/.wh..wh..opq 0', 'd/.wh.f 0']);
});

test('hidden names are hidden in the root only', { timeout: 10_000 }, async () => {
  const table = layerOf('.prefetch.landmark', 'd/', 'd/.prefetch.landmark');
  const tree = await mergeTables([{ table, hidden: new Set(['.prefetch.landmark']) }]);
  assert.deepEqual(show(tree), ['d/', 'd/.prefetch.landmark 0']);
});

test('children are listed from any place, in an order that stays', { timeout: 10_000 }, async () => {
  const tree = await merge(
    Array.from({ length: 50 }, (_, index) => `f${index}`),
    ['.wh.f7', 'f8=new'],
  );
  const all = [...tree.children(tree.root)];
  assert.equal(all.length, 49);
  assert.equal(tree.childCount(tree.root), 49);
  assert.deepEqual([...tree.children(tree.root, 10, 5)], all.slice(10, 15));
  assert.equal(tree.child(tree.root, 48), all[48]);
  assert.deepEqual([...tree.children(tree.root, 49, 5)], []);
});

test('a tree of links that fan out is resolved in time or refused', { timeout: 20_000 }, async () => {
  // Each link doubles the work of the one before it.
  const links = Array.from(
    { length: 40 },
    (_, index) => `l${index + 1}->${`l${index}/../`.repeat(2)}l${index}`,
  );
  const tree = await merge(['l0/', ...links, 'l40/f']);
  assert.equal(tree.problemCount, 1);
});

test('a merge that takes long lets others run and can be stopped', { timeout: 20_000 }, async () => {
  const table = layerOf(...Array.from({ length: 20_000 }, (_, index) => `d${index % 100}/f${index}`));
  const controller = new AbortController();
  setImmediate(() => controller.abort());
  await assert.rejects(
    mergeTables(
      Array.from({ length: 20 }, () => ({ table })),
      { signal: controller.signal },
    ),
    {
      code: 'interrupted',
    },
  );
});
