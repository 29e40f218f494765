/** The arrows between rooms are enforced by lint: an import against them is an error, one along them is not. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test, type TestContext } from 'node:test';
import { run } from '../support/child.js';
import { tempDir } from '../support/temp.js';

const rooms = ['errors', 'oci', 'store', 'content', 'layer', 'image', 'vfs', 'fuse', 'cli'];
const root = fileURLToPath(new URL('../../..', import.meta.url));
const oxlint = join(dirname(createRequire(import.meta.url).resolve('oxlint/package.json')), 'bin', 'oxlint');

/** Lint one import in a tree of its own, with this project's rules. */
async function lintImport(t: TestContext, from: string, to: string): Promise<string> {
  const directory = await tempDir(t, 'rooms');
  await copyFile(join(root, '.oxlintrc.json'), join(directory, '.oxlintrc.json'));
  for (const room of [from, to]) await mkdir(join(directory, 'src', room), { recursive: true });
  await writeFile(join(directory, 'src', to, 'there.ts'), 'export const there = 1;\n');
  await writeFile(
    join(directory, 'src', from, 'here.ts'),
    `import { there } from '../${to}/there.js';\nexport const here = there;\n`,
  );
  const { stdout } = await run(process.execPath, [oxlint, '--config', '.oxlintrc.json', 'src'], {
    cwd: directory,
  });
  return stdout;
}

for (const [index, room] of rooms.entries()) {
  const left = rooms[index + 1];
  const right = rooms[index - 1];
  if (left !== undefined) {
    test(`${room} must not import ${left}`, async (t) => {
      assert.match(await lintImport(t, room, left), /no-restricted-imports/);
    });
  }
  if (right !== undefined) {
    test(`${room} may import ${right}`, async (t) => {
      assert.doesNotMatch(await lintImport(t, room, right), /no-restricted-imports/);
    });
  }
}

test('observe imports no room but errors', async (t) => {
  assert.match(await lintImport(t, 'observe', 'oci'), /no-restricted-imports/);
  assert.doesNotMatch(await lintImport(t, 'observe', 'errors'), /no-restricted-imports/);
});
