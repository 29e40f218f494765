// Finds the compiled tests and hands them to node's own test runner.
//
//   node scripts/run-tests.mjs                   every test
//   node scripts/run-tests.mjs unit fault        only these folders of test/
//   node scripts/run-tests.mjs unit/oci          only files whose path starts so
//   node scripts/run-tests.mjs --test-reporter=spec …   words that start with -- go to node
//
// `node --test` on Node 20 does not expand globs, so the files are listed here.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../dist/test', import.meta.url));

/** Bench programs are never tests: a timed test lies on a shared machine. */
const skippedFolders = new Set(['bench', 'support']);

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return folder === root && skippedFolders.has(entry.name) ? [] : testFiles(path);
    return entry.name.endsWith('.test.js') ? [path] : [];
  });
}

const words = process.argv.slice(2);
const flags = words.filter((word) => word.startsWith('--'));
const wanted = words.filter((word) => !word.startsWith('--'));
const files = testFiles(root)
  .filter((file) => wanted.length === 0 || wanted.some((prefix) => relative(root, file).startsWith(prefix)))
  .sort();
if (files.length === 0) {
  console.error(`run-tests: no test file matches ${wanted.join(' ') || 'anything; run npm run build first'}`);
  process.exit(2);
}
const result = spawnSync(process.execPath, ['--test', '--test-concurrency=2', ...flags, ...files], {
  stdio: 'inherit',
});
process.exit(result.status ?? 1);
