/** Prebuilt addons: made by one script, preferred by the loader; and what happens where nothing can be built. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { accessSync, constants, cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test, type TestContext } from 'node:test';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const built = join(root, 'native/build/Release/imgfs.node');
const needsAddon = existsSync(built) ? false : 'needs the addon';
const timeout = 30_000;

/** A package with the loader, the scripts and nothing else. */
async function emptyPackage(t: TestContext): Promise<string> {
  const folder = await makeTempDir('prebuild');
  t.after(() => removeTempDir(folder));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  mkdirSync(join(folder, 'native/src'), { recursive: true });
  writeFileSync(join(folder, 'native/src/empty.cc'), '');
  writeFileSync(join(folder, 'native/binding.gyp'), '{}');
  cpSync(join(root, 'scripts'), join(folder, 'scripts'), { recursive: true });
  cpSync(join(root, 'dist/src/addon'), join(folder, 'dist/src/addon'), { recursive: true });
  return folder;
}

/** Path of the addon that a new process loads from there, or the reason why none. */
function loadedFrom(folder: string): string {
  const program = `
    import { loadAddon } from './dist/src/addon/load-addon.js';
    const loaded = loadAddon();
    console.log(loaded.path ?? loaded.reason);`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: folder,
    env: { ...process.env, IMGFS_ADDON: '' },
    encoding: 'utf8',
    timeout,
  });
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

function script(folder: string, name: string, words: readonly string[], environment = {}) {
  return spawnSync(process.execPath, [join(folder, 'scripts', name), ...words], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
    timeout,
  });
}

test(
  'one script packs the addon and its watchdog, and the loader prefers them',
  { timeout, skip: needsAddon },
  async (t) => {
    const folder = await emptyPackage(t);
    cpSync(join(root, 'native/build/Release/imgfs.node'), join(folder, 'native/build/Release/imgfs.node'));
    cpSync(
      join(root, 'native/build/Release/imgfs-watchdog'),
      join(folder, 'native/build/Release/imgfs-watchdog'),
    );
    assert.match(loadedFrom(folder), /native\/build\/Release\/imgfs\.node$/);
    const { status, stderr } = script(folder, 'prebuild.mjs', ['--built']);
    assert.equal(status, 0, stderr);
    const musl = /musl/.test(stderr) ? '-musl' : '';
    const packed = join(folder, `native/prebuilds/${process.platform}-${process.arch}${musl}`);
    accessSync(join(packed, 'imgfs-watchdog'), constants.X_OK);
    assert.equal(loadedFrom(folder), join(packed, 'imgfs.node'));
  },
);

test(
  'a prebuilt addon that does not load here gives way to the build',
  { timeout, skip: needsAddon },
  async (t) => {
    const folder = await emptyPackage(t);
    const prebuilt = join(folder, `native/prebuilds/${process.platform}-${process.arch}/imgfs.node`);
    mkdirSync(join(prebuilt, '..'), { recursive: true });
    writeFileSync(prebuilt, 'for another C library');
    assert.ok(loadedFrom(folder).startsWith(prebuilt), 'alone, it is the reason');
    cpSync(built, join(folder, 'native/build/Release/imgfs.node'));
    assert.match(loadedFrom(folder), /native\/build\/Release\/imgfs\.node$/);
  },
);

test(
  'without a compiler the build says so and ends well, unless it was asked for',
  { timeout },
  async (t) => {
    const folder = await emptyPackage(t);
    const CXX = join(folder, 'no-such-compiler');
    const asked = script(folder, 'build-native.mjs', ['--force'], { CXX });
    assert.equal(asked.status, 1);
    const { status, stderr } = script(folder, 'build-native.mjs', [], { CXX });
    assert.equal(status, 0);
    assert.match(stderr, /no C\+\+ compiler .*; imgfs works without the addon/);
    assert.match(loadedFrom(folder), /no addon for this platform: run npm run build:native/);
  },
);
