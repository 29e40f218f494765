// Builds the addon of native/ when it is missing or older than its sources. Without a compiler it says so and ends
// well: imgfs then works with its fallbacks.
//
//   node scripts/build-native.mjs            build when needed
//   node scripts/build-native.mjs --force    build always; a missing compiler is an error
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = fileURLToPath(new URL('../native', import.meta.url));
const binary = join(native, 'build/Release/imgfs.node');
const force = process.argv.includes('--force');

function newestSource(folder) {
  const times = readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs);
  return Math.max(...times);
}

function isFresh() {
  if (!existsSync(binary)) return false;
  const sources = Math.max(newestSource(join(native, 'src')), statSync(join(native, 'binding.gyp')).mtimeMs);
  return statSync(binary).mtimeMs >= sources;
}

function findNodeGyp() {
  // npm brings its own node-gyp: beside npm's command line when this runs under npm, else beside node.
  const npmFolders = [
    process.env.npm_execpath && join(dirname(process.env.npm_execpath), '..'),
    join(dirname(process.execPath), '../lib/node_modules/npm'),
    join(dirname(process.execPath), '../share/nodejs/npm'),
    '/usr/local/lib/node_modules/npm',
    '/usr/lib/node_modules/npm',
  ];
  return npmFolders
    .filter(Boolean)
    .map((folder) => join(folder, 'node_modules/node-gyp/bin/node-gyp.js'))
    .find((path) => existsSync(path));
}

function skip(why) {
  console.error(`build-native: ${why}; imgfs works without the addon, with fewer features`);
  process.exit(force ? 1 : 0);
}

if (!force && isFresh()) process.exit(0);
const compiler = process.env.CXX ?? 'c++';
if (spawnSync(compiler, ['--version'], { stdio: 'ignore' }).status !== 0)
  skip(`no C++ compiler (${compiler})`);
const nodeGyp = findNodeGyp();
if (nodeGyp === undefined) skip('no node-gyp (it comes with npm)');
// Headers that came with node spare a download, and are the right ones.
const prefix = join(dirname(process.execPath), '..');
const headers = existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
const result = spawnSync(
  process.execPath,
  [nodeGyp, 'rebuild', '-C', native, '--loglevel=warn', ...headers],
  {
    encoding: 'utf8',
    env: { ...process.env, MAKEFLAGS: process.env.MAKEFLAGS ?? '-j2' },
  },
);
if (result.status !== 0) {
  process.stderr.write(result.stdout + result.stderr);
  skip('the build failed');
}
if (/warning:/.test(result.stderr)) process.stderr.write(result.stderr);
console.error(`build-native: ${binary}`);
