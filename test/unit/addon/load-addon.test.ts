import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AddonLoad } from '../../../src/addon/load-addon.js';

const loader = new URL('../../../src/addon/load-addon.js', import.meta.url).href;

/** The answer of a new process: the loader remembers its first answer. */
function loadIn(environment: Record<string, string>): { reason?: string; abi?: number } {
  const program = `
    import { loadAddon } from ${JSON.stringify(loader)};
    const { addon, reason } = loadAddon();
    console.log(JSON.stringify({ abi: addon?.abi, reason }));`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    env: { ...process.env, ...environment },
    encoding: 'utf8',
    timeout: 10_000,
  });
  assert.equal(child.status, 0, child.stderr);
  return JSON.parse(child.stdout) as ReturnType<typeof loadIn> & AddonLoad;
}

test('the addon can be switched off', () => {
  assert.match(loadIn({ IMGFS_ADDON: 'none' }).reason ?? '', /switched off/);
});

test('a missing addon says how to get it', () => {
  assert.match(loadIn({ IMGFS_ADDON: '/nonexistent/imgfs.node' }).reason ?? '', /npm run build:native/);
});

test('a file that is no addon, and one with another interface, are refused with their path', () => {
  const folder = mkdtempSync(join(tmpdir(), 'imgfs-addon-'));
  try {
    const broken = join(folder, 'imgfs.node');
    writeFileSync(broken, 'not an ELF file');
    assert.ok(loadIn({ IMGFS_ADDON: broken }).reason?.startsWith(broken));
    const stale = join(folder, 'stale.cjs');
    writeFileSync(stale, 'module.exports = { abi: 0 };');
    assert.match(loadIn({ IMGFS_ADDON: stale }).reason ?? '', /interface 0/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
