/** Listing a folder of the cache: the addon and the helper thread tell the same. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { folderAddon } from '../../../src/addon/folder-addon.js';
import { HelperPool } from '../../../src/content/helper-pool.js';
import { listFolder } from '../../../src/content/list-folder.js';
import type { ScannedEntry } from '../../../src/content/scanned-entry.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

type List = (folder: string, onPart: (part: readonly ScannedEntry[]) => void) => Promise<void>;

/** A file used last at `seconds` since the epoch. */
function file(path: string, bytes: number, seconds: number): void {
  writeFileSync(path, Buffer.alloc(bytes, 1));
  utimesSync(path, seconds, seconds);
}

const blocks = (...paths: readonly string[]): number =>
  paths.reduce((sum, path) => sum + statSync(path).blocks * 512, 0);

function listingSuite(name: string, list: List, skip: string | false): void {
  describe(`folder listing: ${name}`, { skip }, () => {
    const entries = async (folder: string): Promise<ScannedEntry[]> => {
      const found: ScannedEntry[] = [];
      await list(folder, (part) => found.push(...part));
      return found;
    };

    test('files and folders with their bytes, the one used longest ago first', async (t) => {
      const folder = await makeTempDir('listing');
      t.after(() => removeTempDir(folder));
      file(join(folder, 'newest'), 100_000, 3_000);
      file(join(folder, 'oldest'), 10, 1_000);
      const inside = join(folder, 'folder');
      mkdirSync(inside);
      file(join(inside, 'a'), 5_000, 1_500);
      file(join(inside, 'b'), 50_000, 2_000.5);
      // Reading a folder touches it: its own times say nothing.
      utimesSync(inside, 9_000, 9_000);
      symlinkSync('nowhere', join(folder, 'link'));
      const found = await entries(folder);
      assert.deepEqual(
        found.map((entry) => entry.name),
        ['oldest', 'folder', 'newest', 'link'],
      );
      const at = (...names: string[]): string => join(folder, ...names);
      assert.deepEqual(
        found.slice(0, 3).map(({ bytes, usedMs }) => [bytes, usedMs]),
        [
          [blocks(at('oldest')), 1_000_000],
          [blocks(at('folder'), at('folder', 'a'), at('folder', 'b')), 2_000_500],
          [blocks(at('newest')), 3_000_000],
        ],
      );
    });

    test('the later of reading and writing is the last use', async (t) => {
      const folder = await makeTempDir('listing');
      t.after(() => removeTempDir(folder));
      file(join(folder, 'read'), 1, 1);
      utimesSync(join(folder, 'read'), 5_000, 2_000);
      file(join(folder, 'written'), 1, 1);
      utimesSync(join(folder, 'written'), 2_000, 6_000);
      assert.deepEqual(
        (await entries(folder)).map(({ name: entry, usedMs }) => [entry, usedMs]),
        [
          ['read', 5_000_000],
          ['written', 6_000_000],
        ],
      );
    });

    test('a thousand entries come in pieces, each of them once', async (t) => {
      const folder = await makeTempDir('listing');
      t.after(() => removeTempDir(folder));
      for (let i = 0; i < 1_001; i += 1) file(join(folder, `é${i}`), 1, 10_000 - i);
      const parts: number[] = [];
      const names: string[] = [];
      await list(folder, (part) => {
        parts.push(part.length);
        names.push(...part.map((entry) => entry.name));
      });
      assert.deepEqual(parts, [250, 250, 250, 250, 1]);
      assert.deepEqual(
        names,
        Array.from({ length: 1_001 }, (_, index) => `é${1_000 - index}`),
      );
    });

    test('no folder, an empty one, and names with a line break', async (t) => {
      const folder = await makeTempDir('listing');
      t.after(() => removeTempDir(folder));
      assert.deepEqual(await entries(join(folder, 'absent')), []);
      assert.deepEqual(await entries(folder), []);
      file(join(folder, 'two\nlines'), 1, 1);
      file(join(folder, 'file'), 1, 1);
      assert.deepEqual(
        (await entries(folder)).map((entry) => entry.name),
        ['file'],
      );
      assert.deepEqual(await entries(join(folder, 'file')), [], 'a file is no folder');
    });

    test('what vanishes meanwhile is left out', async (t) => {
      const folder = await makeTempDir('listing');
      t.after(() => removeTempDir(folder));
      for (let i = 0; i < 3_000; i += 1) writeFileSync(join(folder, `f${i}`), '');
      const listing = entries(folder);
      for (let i = 0; i < 3_000; i += 2) rmSync(join(folder, `f${i}`));
      const names = new Set((await listing).map((entry) => entry.name));
      for (let i = 1; i < 3_000; i += 2) assert.ok(names.has(`f${i}`), `f${i} is there`);
    });
  });
}

const helpers = new HelperPool();
listingSuite(
  'addon',
  (folder, onPart) => listFolder(helpers, folder, onPart),
  folderAddon() === undefined ? 'needs the addon' : false,
);
listingSuite('helper thread', (folder, onPart) => helpers.scan(folder, onPart), false);
