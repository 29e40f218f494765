import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { nameToText } from '../../../src/oci/name.js';
import { titleTree, type TitleTree } from '../../../src/vfs/nodes/files-directory.js';
import { isDesktopProbe, isRegistryName } from '../../../src/vfs/probe-names.js';
import { numberedName, safeComponent, safePath } from '../../../src/vfs/safe-name.js';
import { digestOf } from '../../../src/oci/digest.js';

const decode = (name: string): string =>
  name === '%'
    ? ''
    : Buffer.from(
        name.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
        'latin1',
      ).toString('utf8');

test('a safe component is a legal file name that stands for its text alone', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ unit: 'binary', maxLength: 60 }), fc.constantFrom('.', '..', '', '%', '%2E', '/')),
      (text) => {
        const name = safeComponent(text);
        assert.ok(name.length > 0 && name.length <= 255);
        assert.ok(
          name !== '.' && name !== '..' && !['/', '\0', '\n', '\x1b'].some((bad) => name.includes(bad)),
        );
        if (Buffer.from(text).toString() === text) assert.equal(decode(name), text);
      },
    ),
  );
});

test('names that are too long are cut, stay different and stay whole characters', () => {
  const long = 'ä'.repeat(200);
  const name = safeComponent(long);
  assert.ok(name.length <= 255);
  assert.notEqual(name, safeComponent(`${long}b`));
  assert.ok(!nameToText(name).includes('\ufffd'));
  assert.ok(numberedName(name, 12_345).length <= 255);
});

test('a title of many slashes is no deep directory', () => {
  assert.ok(safePath('a/'.repeat(10_000)).length <= 64);
});

test('no two layers hide each other, whatever their titles', () => {
  const count = (tree: TitleTree): number =>
    tree.files.size + [...tree.directories.values()].reduce((sum, below) => sum + count(below), 0);
  const clash = (tree: TitleTree): boolean =>
    [...tree.files.keys()].some((name) => tree.directories.has(name)) ||
    [...tree.directories.values()].some(clash);
  const title = fc
    .array(fc.constantFrom('a', 'b', '', '.', '..', 'a%~1', '%', 'a%'), { maxLength: 3 })
    .map((parts) => parts.join('/'));
  fc.assert(
    fc.property(fc.array(title, { maxLength: 20 }), (titles) => {
      const layers = titles.map((text) => ({
        mediaType: 'application/octet-stream',
        digest: digestOf(Buffer.from(text)),
        size: 1,
        annotations: { 'org.opencontainers.image.title': text },
      }));
      const tree = titleTree(layers);
      assert.equal(count(tree), titles.length);
      assert.ok(!clash(tree));
    }),
  );
});

test('hosts are told from files that tools look for', () => {
  for (const name of [
    'docker.io',
    'localhost',
    'localhost:5000',
    '127.0.0.1:5000',
    '[::1]:5000',
    'a.md',
    'x.zip',
    'data.json:80',
  ]) {
    assert.equal(isRegistryName(name), true, name);
  }
  for (const name of [
    'foo',
    '.git',
    'package.json',
    'Thumbs.db',
    'Cargo.toml',
    'autorun.inf',
    'a b.io',
    '-x.io',
    'x.io:99999',
  ]) {
    assert.equal(isRegistryName(name), false, name);
  }
  assert.equal(isDesktopProbe('Desktop.ini'), true);
});
