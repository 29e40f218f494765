import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { nameFromText } from '../../../src/oci/name.js';
import { rootInode, type Inode } from '../../../src/vfs/file-system.js';
import { InodeTable, pathOf, unknownInode, type InodeRecord } from '../../../src/vfs/inode-table.js';
import type { VfsNode } from '../../../src/vfs/node.js';

const node = (identity?: string, version?: string): VfsNode => ({
  type: identity === undefined ? 'directory' : 'file',
  attrTtlMs: 0,
  stat: () => ({ size: 0, mode: 0, mtimeNs: 0n }),
  ...(identity === undefined ? {} : { identity }),
  ...(version === undefined ? {} : { version }),
});

/** What the table should know: lookups by key, whatever the numbers. */
class Model {
  readonly counts = new Map<string, number>();
  readonly numbers = new Map<string, Inode>();
}

interface Real {
  readonly table: InodeTable;
  /** Live directories by path, as the kernel would hold them. */
  readonly directories: Map<string, InodeRecord>;
}

class Lookup implements fc.Command<Model, Real> {
  readonly #parent: string;
  readonly #name: string;
  readonly #content: boolean;
  constructor(parent: string, name: string, content: boolean) {
    this.#parent = parent;
    this.#name = name;
    this.#content = content;
  }
  check = (): boolean => true;
  run(model: Model, real: Real): void {
    const parent = real.directories.get(this.#parent);
    if (parent === undefined || (this.#parent !== '' && model.counts.get(this.#parent) === undefined)) return;
    const key = this.#content ? `content ${this.#name}` : `${this.#parent}/${this.#name}`;
    const made = node(this.#content ? key : undefined);
    const before = real.table.peek(parent, nameFromText(this.#name), made);
    const record = real.table.remember(parent, nameFromText(this.#name), made);
    assert.equal(record.inode, before);
    const known = model.numbers.get(key);
    if (known !== undefined) assert.equal(record.inode, known, 'a number stays the same');
    for (const [other, number] of model.numbers) if (other !== key) assert.notEqual(record.inode, number);
    model.numbers.set(key, record.inode);
    model.counts.set(key, (model.counts.get(key) ?? 0) + 1);
    if (!this.#content) real.directories.set(key, record);
    assert.equal(record.lookups, model.counts.get(key));
  }
  toString = (): string => `lookup(${this.#parent}/${this.#name}${this.#content ? ' content' : ''})`;
}

class Forget implements fc.Command<Model, Real> {
  readonly #pick: number;
  readonly #count: number;
  constructor(pick: number, count: number) {
    this.#pick = pick;
    this.#count = count;
  }
  check = (model: Readonly<Model>): boolean => model.counts.size > 0;
  run(model: Model, real: Real): void {
    const [key = '', count = 0] = [...model.counts][this.#pick % model.counts.size] ?? [];
    const inode = model.numbers.get(key);
    assert.ok(inode !== undefined);
    const given = Math.min(count, this.#count);
    real.table.forget(inode, given);
    if (count === given) model.counts.delete(key);
    else model.counts.set(key, count - given);
    assert.equal(real.table.has(inode), count > given);
  }
  toString = (): string => `forget(${this.#pick}, ${this.#count})`;
}

test('lookups and forgets are counted as a model counts them', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd');
  const parent = fc.constantFrom('', '/a', '/b', '/a/b');
  const commands = fc.commands(
    [
      fc.tuple(parent, name, fc.boolean()).map(([at, what, content]) => new Lookup(at, what, content)),
      fc.tuple(fc.nat(50), fc.integer({ min: 1, max: 3 })).map(([pick, count]) => new Forget(pick, count)),
    ],
    { maxCommands: 200 },
  );
  fc.assert(
    fc.property(commands, (script) => {
      const table = new InodeTable(node());
      const real: Real = { table, directories: new Map([['', table.root]]) };
      const model = new Model();
      fc.modelRun(() => ({ model, real }), script);
      assert.equal(table.size, model.counts.size + 1);
    }),
    { numRuns: 60 },
  );
});

test('content is one inode in two directories, directories are not', () => {
  const table = new InodeTable(node());
  const left = table.remember(table.root, nameFromText('left'), node());
  const right = table.remember(table.root, nameFromText('right'), node());
  const name = nameFromText('x');
  assert.equal(table.remember(left, name, node('blob 1')), table.remember(right, name, node('blob 1')));
  assert.notEqual(table.remember(left, name, node()).inode, table.remember(right, name, node()).inode);
});

test('another version at one place is another inode', () => {
  const table = new InodeTable(node());
  const name = nameFromText('v1');
  const first = table.remember(table.root, name, node(undefined, 'sha256:1'));
  assert.notEqual(table.remember(table.root, name, node(undefined, 'sha256:2')).inode, first.inode);
  assert.equal(table.remember(table.root, name, node(undefined, 'sha256:1')).inode, first.inode);
});

test('two nodes that hash alike get different numbers', () => {
  const table = new InodeTable(node());
  const name = nameFromText('x');
  const first = table.remember(table.root, name, node('blob 1'));
  // What a collision would look like: the number of the next key is taken by another one.
  (first as { key: string }).key = 'somebody else';
  const second = table.remember(table.root, name, node('blob 1'));
  assert.equal(second.inode, first.inode + 1);
  assert.equal(table.remember(table.root, name, node('blob 1')), second);
  assert.notEqual(second.inode, unknownInode);
});

test('paths are told for messages, and the root is always there', () => {
  const table = new InodeTable(node());
  const a = table.remember(table.root, nameFromText('a'), node());
  const b = table.remember(a, nameFromText('ü'), node());
  assert.equal(pathOf(b, nameFromText('c')), '/a/ü/c');
  assert.equal(pathOf(table.root), '/');
  table.forget(rootInode, 1000);
  assert.ok(table.has(rootInode));
});
