// Makes the prebuilt addon of this platform: native/prebuilds/<platform>-<arch>[-musl]/imgfs.node and its watchdog.
//
//   node scripts/prebuild.mjs            build, then pack
//   node scripts/prebuild.mjs --built    pack the build that is there
//
// Node-API binaries run on every Node from 20 on. They must be built on the oldest C library they shall run on (glibc
// 2.31 of Debian 11 runs everywhere that matters); the script says which one was used.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const release = join(root, 'native/build/Release');

if (!process.argv.includes('--built')) {
  const built = spawnSync(process.execPath, [join(root, 'scripts/build-native.mjs'), '--force'], {
    stdio: 'inherit',
  });
  if (built.status !== 0) process.exit(1);
}
process.report.excludeNetwork = true;
const glibc = process.report.getReport().header.glibcVersionRuntime;
const musl = process.platform === 'linux' && glibc === undefined ? '-musl' : '';
const folder = join(root, `native/prebuilds/${process.platform}-${process.arch}${musl}`);
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const name of ['imgfs.node', 'imgfs-watchdog']) {
  const from = join(release, name);
  if (!existsSync(from)) continue;
  copyFileSync(from, join(folder, name));
  chmodSync(join(folder, name), 0o755);
  spawnSync('strip', ['--strip-unneeded', join(folder, name)], { stdio: 'inherit' });
}
const check = spawnSync(
  process.execPath,
  [
    '--input-type=module',
    '-e',
    `import { createRequire } from 'node:module'; createRequire('/')(${JSON.stringify(join(folder, 'imgfs.node'))});`,
  ],
  { stdio: 'inherit' },
);
if (check.status !== 0) process.exit(1);
console.error(`prebuild: ${folder} (C library: ${glibc === undefined ? 'musl or none' : `glibc ${glibc}`})`);
