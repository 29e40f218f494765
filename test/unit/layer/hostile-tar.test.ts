import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { cleanPath } from '../../../src/layer/index/entry-path.js';
import { mergeTables } from '../../../src/layer/merge/merge-layers.js';
import type { Name } from '../../../src/oci/name.js';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import { hostileCases } from '../../support/hostile-tar-cases.js';
import { tableOf } from '../../support/layer-tables.js';
import { nativeOutcome, referenceOutcome } from '../../support/read-tar.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { gnuDiffers, pythonDiffers } from './hostile-tar-oracles.js';

const options = { timeout: 20_000 };

/** Names as another program lists them, cleaned as ours are; undefined: it refused the archive. */
type Listing = readonly string[] | undefined;
const gnu = new Map<string, Listing>();
const python = new Map<string, Listing>();

function clean(names: readonly string[]): string[] {
  return names.map((name) => {
    const path = cleanPath(name as Name);
    if (typeof path === 'string') return `(${path})`;
    return path.directory === '' ? path.base : `${path.directory}/${path.base}`;
  });
}

const pythonProgram = `
import json, sys, tarfile, warnings
def names(path):
    try:
        with tarfile.open(path, 'r:', encoding='utf-8', errors='surrogateescape') as archive:
            return [member.name.encode('utf-8', 'surrogateescape').hex() for member in archive]
    except Exception:
        return None
print(json.dumps([names(path) for path in sys.stdin.read().split()]))
`;

function unescape(text: string): string {
  const bytes = text.replace(/\\(\d{3}|.)/g, (_, code: string) => {
    const known = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', a: '\x07' }[code];
    return known ?? (code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : code);
  });
  return bytes;
}

function gnuListing(path: string): Listing {
  const command = ['-P', '--quoting-style=escape', '-tf', path];
  const result = spawnSync('tar', command, {
    encoding: 'latin1',
    timeout: 10_000,
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (result.status !== 0) return undefined;
  return clean(
    result.stdout
      .split('\n')
      .filter((line) => line !== '')
      .map(unescape),
  );
}

let folder = '';
before(
  async () => {
    folder = await makeTempDir('hostile');
    const paths = hostileCases.map(({ archive }, index) => {
      const path = join(folder, `${index}.tar`);
      writeFileSync(path, archive);
      return path;
    });
    const output = execFileSync('python3', ['-c', pythonProgram], {
      input: paths.join('\n'),
      timeout: 15_000,
    });
    const listings = JSON.parse(output.toString()) as (string[] | null)[];
    for (const [index, { name }] of hostileCases.entries()) {
      gnu.set(name, gnuListing(paths[index] ?? ''));
      const listing = listings[index]?.map((hex) => Buffer.from(hex, 'hex').toString('latin1'));
      python.set(name, listing === undefined ? undefined : clean(listing));
    }
    await removeTempDir(folder);
  },
  { timeout: 60_000 },
);

/** Equal, or different for a reason that is written down. */
function compare(differs: typeof gnuDiffers, name: string, ours: Listing, theirs: Listing): void {
  if (JSON.stringify(ours) === JSON.stringify(theirs)) return;
  const [pattern] = differs.find(([names]) => names.test(name)) ?? [];
  const both = `ours ${JSON.stringify(ours)}, theirs ${JSON.stringify(theirs)}`;
  assert.ok(pattern, both.slice(0, 400));
}

test('every case has a name of its own, and there are at least 200', () => {
  assert.equal(new Set(hostileCases.map(({ name }) => name)).size, hostileCases.length);
  assert.ok(hostileCases.length >= 200, String(hostileCases.length));
});

for (const { name, archive, paths, problems } of hostileCases) {
  test(`hostile tar: ${name}`, options, async () => {
    if (paths === undefined) {
      assert.throws(
        () => tableOf(archive),
        (error) => isImgfsError(error, 'invalid-content'),
      );
    } else {
      const table = tableOf(archive);
      const shown = Array.from({ length: table.count }, (_, row) => table.path(row) as string);
      assert.deepEqual(shown, paths);
      assert.equal(table.problemCount, problems);
      const tree = await mergeTables([{ table, raw: true }]);
      for (let node = 1; node < tree.nodeLimit; node += 1) {
        assert.ok(
          !/^\.{0,2}$|\/|\0/.test(tree.name(node)),
          `a part of the tree is called ${tree.name(node)}`,
        );
      }
    }
    const native = await nativeOutcome(archive);
    if (native !== undefined) assert.deepEqual(native, referenceOutcome(archive));
    compare(gnuDiffers, name, paths, gnu.get(name));
    compare(pythonDiffers, name, paths, python.get(name));
  });
}

// Whether an oracle differs depends on its version (python 3.11 and 3.12 do not agree), so only the names are compared.
test('every reason to differ is one of a case that exists', () => {
  for (const [pattern] of [...gnuDiffers, ...pythonDiffers]) {
    assert.ok(
      hostileCases.some(({ name }) => pattern.test(name)),
      String(pattern),
    );
  }
});
