/**
 * Every path of docs/INTERFACES.md, through one mount: what stands there as a path is listed or read, and what stands there
 * as an operation is done by the commands it names. A cell that nobody knows how to try is red.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { digestHex } from '../../src/oci/digest.js';
import { run, skipWithout } from '../support/child.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { buildArtifact, buildIndex, sampleImage } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

/** The path cells, each once. */
async function pathCells(): Promise<readonly string[]> {
  const text = await readFile(new URL('../../../docs/INTERFACES.md', import.meta.url), 'utf8');
  const rows = text.split('\n').filter((line) => /^\| (?!-|method )/.test(line));
  return [...new Set(rows.map((line) => (line.split('|')[4] ?? '').trim()))];
}

/** In `$mnt`, `$registry`, `$repo`, `$image`, `$scratch`, `$other` (a repository to write to); digests `$layer`, `$manifest`. */
const operations: Readonly<Record<string, string>> = {
  'write `<repo>/sha256-<hex>.sig/manifest.json`': `mkdir "$other/sha256-$manifest.sig"; cp "$image/manifest.json" "$other/sha256-$manifest.sig/"`,
  'write `<repo>/@uploads/<name>`, `<repo>/@blobs/<alg>/<hex>`': `echo 1 > "$other/@uploads/one"; echo fresh > "$scratch/c"; cp "$scratch/c" "$other/@blobs/sha256/$(sha256sum < "$scratch/c" | cut -c1-64)"`,
  'write `<repo>/@uploads/<name>`': `echo 2 > "$other/@uploads/two"`,
  'create `<repo>/@uploads/<name>`': `echo 3 > "$other/@uploads/three"`,
  'write `<repo>/@blobs/<alg>/<hex>`': `echo newer > "$scratch/l"; cp "$scratch/l" "$other/@blobs/sha256/$(sha256sum < "$scratch/l" | cut -c1-64)"`,
  'write `<repo>/<tag>/manifest.json`': `mkdir "$other/w1"; cp "$image/manifest.json" "$other/w1/"; cmp "$image/manifest.json" "$other/w1/manifest.json"`,
  'write `<repo>/<tag>/index.json`': `mkdir "$repo/w2"; cp "$repo/multi/index.json" "$repo/w2/"; cmp "$repo/multi/index.json" "$repo/w2/index.json"`,
  'write `<repo>/<tag>/manifest.json`, `<repo>/@digests/<alg>/<hex>/manifest.json`': `mkdir "$other/w3" "$other/@digests/sha256/$manifest" 2>/dev/null || true; cp "$image/manifest.json" "$other/w3/"; cp "$image/manifest.json" "$other/@digests/sha256/$manifest/" || true; cmp "$image/manifest.json" "$other/@digests/sha256/$manifest/manifest.json"`,
  'pwrite to `<repo>/@uploads/<name>`': `printf 'hello ' > "$other/@uploads/four"; mkdir "$other/@uploads/s"; printf world | dd of="$other/@uploads/s/data" bs=1 seek=6 conv=notrunc status=none; rm -r "$other/@uploads/s"`,
  'open `<repo>/@uploads/<name>` again': `mkdir "$other/@uploads/r"; echo 1 >> "$other/@uploads/r/data"; echo 2 >> "$other/@uploads/r/data"; rm -r "$other/@uploads/r"`,
  'close of `<repo>/@uploads/<name>`': `exec 5> "$other/@uploads/five"; echo 5 >&5; exec 5>&-`,
  'rm `<repo>/@uploads/<name>`': `mkdir "$other/@uploads/gone"; echo x > "$other/@uploads/gone/data"; rm -r "$other/@uploads/gone"; ! ls "$other/@uploads" | grep -x gone`,
  'cp f `<repo>/@uploads/`': `echo f > "$scratch/f"; cp "$scratch/f" "$other/@uploads/"`,
  'pread of `<repo>/@blobs/<alg>/<hex>`': `dd if="$repo/@blobs/sha256/$layer" bs=1 skip=100 count=10 status=none | wc -c | grep -qx 10`,
  'mtime of `<image>/layers/N.tar.gz`': `stat -c %Y "$image"/layers/*.tar.gz | grep -q '^[1-9]'`,
  '`user.oci.mediatype` of `<image>/manifest.json`': `getfattr --only-values -n user.oci.mediatype "$image/manifest.json" | grep -q manifest`,
  '`user.imgfs.cached` of `<image>`': `getfattr --only-values -n user.imgfs.cached "$image" | grep -q .`,
  '`rmdir <repo>/@digests/<alg>/<hex>`': `rmdir "$repo/@digests/sha256/$spare"; ! test -e "$repo/@digests/sha256/$spare"`,
  '`rmdir <repo>/<tag>`': `rmdir "$repo/extra"; ! test -e "$repo/extra"`,
  '`rm <repo>/@blobs/<alg>/<hex>`': `rm "$repo/@blobs/sha256/$loose"`,
  '`ln`, `cp` from `@blobs/` to `@blobs/`': `cp "$repo/@blobs/sha256/$layer" "$registry/group/second/@blobs/sha256/$layer"; ln "$repo/@blobs/sha256/$config" "$registry/group/second/@blobs/sha256/$config"`,
  '`ln -s ../@digests/… <repo>/@tags/<tag>`': `ln -s "../@digests/sha256/$manifest" "$repo/@tags/linked"; cmp "$image/manifest.json" "$repo/linked/manifest.json"`,
  '`ln -s ../@digests/<alg>/<hex> <repo>/@tags/<tag>`, `mv <tag> <new>`': `ln -s "../@digests/sha256/$manifest" "$repo/@tags/first"; mv "$repo/first" "$repo/moved"; cmp "$image/manifest.json" "$repo/moved/manifest.json"`,
  '`cp -r <image>` from a registry': `cp -r "$image" "$scratch/taken"; cmp "$image/manifest.json" "$scratch/taken/manifest.json"`,
  '`cp -r` of manifest, config and layers to `<repo>/<tag>`': `mkdir -p "$scratch/parts/layers"; cp "$image/manifest.json" "$image/config.json" "$scratch/parts/"; cp "$image"/layers/*.tar.gz "$scratch/parts/layers/"; cp -r "$scratch/parts" "$registry/group/third/v1"; cmp "$image/manifest.json" "$registry/group/third/v1/manifest.json"`,
  '`imgfs mount --store name=oci-archive:x.tar`': `cat "$mnt/archive/v1/manifest.json" | cmp - "$image/manifest.json"`,
}; // prettier-ignore

/** `rm <path>` and the like stand inside or before the quotes. */
const normal = (cell: string): string => cell.replace(/^`(rm|ls|ls -l|cp f) (<[^`]*)`$/, '$1 `$2`');
const known = new Map(Object.entries(operations).map(([cell, script]) => [normal(cell), script]));

const small = { payloadBytes: 2_000 };
const skip = skipWithoutMount('native') || skipWithout('bash', 'getfattr', 'tar', 'cmp');

test('every path of INTERFACES.md is true through a mount', { skip, timeout: 120_000 }, async (t) => {
  const [image, spare, arm64] = [
    await sampleImage(small),
    await sampleImage({ ...small, seed: 2 }),
    await sampleImage({ ...small, seed: 3, platform: { os: 'linux', architecture: 'arm64' } }),
  ];
  const directory = await makeTempDir('paths');
  const mnt = join(directory, 'mnt');
  const registry = await startFaultRegistry();
  // In this order: what is removed below a mount is deleted in the registry.
  t.after(async () => {
    if ((await findMount(mnt)) !== undefined) await unmountPath(mnt, { lazy: true });
    await registry.close();
    await removeTempDir(directory);
  });
  for (const tag of ['v1', 'extra']) registry.addImage('group/app', image, tag);
  registry.addImage('group/app', spare, 'spare');
  const statement = { predicateType: 'https://spdx.dev/Document', predicate: {} };
  registry.addImage('group/app', await buildIndex([image, arm64], { attestation: () => statement }), 'multi');
  const files = [{ title: 'sbom.json', content: '{}', mediaType: 'application/spdx+json' }];
  const sbom = buildArtifact({ artifactType: 'application/spdx+json', subject: image.descriptor, files });
  registry.addImage('group/app', sbom);
  const loose = registry.putBlob('group/app', Buffer.from('nobody needs it'));
  await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
  const packed = await run('tar', ['-C', join(directory, 'layout'), '-cf', join(directory, 'x.tar'), '.']);
  assert.equal(packed.code, 0, packed.stderr);
  await mkdir(mnt);
  const { code, stderr } = await imgfsIn(directory)([
    'mount', mnt, '--allow-overwrite', '--allow-delete', '--platform', 'linux/amd64',
    '--store', `local=oci:${join(directory, 'layout')}`, '--store', `archive=oci-archive:${join(directory, 'x.tar')}`,
  ]); // prettier-ignore
  assert.equal(code, 0, stderr);
  const host = join(mnt, registry.host);
  const hexOf = (descriptor: { readonly digest: typeof loose.digest } | undefined): string =>
    descriptor === undefined ? '' : digestHex(descriptor.digest);
  const env = {
    mnt,
    registry: host,
    repo: `${host}/group/app`,
    image: `${host}/group/app/v1`,
    other: `${host}/group/other`,
    scratch: directory,
    layer: hexOf(image.layers[1]?.descriptor),
    config: hexOf(image.config.descriptor),
    manifest: hexOf(image.descriptor),
    spare: hexOf(spare.descriptor),
    loose: hexOf(loose),
  };
  const filled = (path: string): string =>
    path
      .replace(/^blobs\//, `${mnt}/blobs/`)
      .replace('<image>/platforms', '<repo>/multi/platforms')
      .replace('<image>/index.json', '<repo>/multi/index.json')
      .replace('<image>/attestations', '<repo>/multi/attestations')
      .replace('<store>/@store/garbage', `${mnt}/local/@store/garbage`)
      .replace('<image>', '<repo>/<tag>')
      .replace('<registry>/<repo>', '<repo>')
      .replace('<repo>', env.repo)
      .replace(/<(registry|store)>/, host)
      .replace('<tag>', 'v1')
      .replace('<alg>', 'sha256')
      .replace('<hex>', /@(digests|all)/.test(path) ? env.manifest : env.layer)
      .replace('<os>-<arch>', 'linux-amd64')
      .replace('<term>', 'app')
      .replace('N.tar.gz', '0.tar.gz')
      .replace('@<name>', '@registry.test%2Fme%2Fapp:v9')
      .replace('last=…', 'last=a')
      .replace('n=…', 'n=5');
  const sh = (script: string) => run('bash', ['-euo', 'pipefail', '-c', script], { env, timeoutMs: 60_000 });
  const repositories = ['other', 'second', 'third'].map((name) => join(host, 'group', name));
  assert.equal((await run('mkdir', repositories)).code, 0);
  const cells = await pathCells();
  assert.ok(cells.length > 50);
  // What deletes comes last.
  const order = (cell: string): number => Number(/\brm(dir)?\b/.test(cell));
  for (const cell of [...cells].sort((a, b) => order(a) - order(b))) {
    await t.test(cell, async () => {
      const script = known.get(normal(cell));
      const [, verb = '', paths = ''] = /^(stat |read |ls |ls -l |)(`.*`)$/.exec(normal(cell)) ?? [];
      assert.ok(script !== undefined || paths !== '', 'nobody knows how to try it');
      const lines =
        script ??
        [...paths.matchAll(/`([^`]+)`/g)].map(([, path = '']) => tryPath(verb, filled(path))).join('; ');
      const done = await sh(lines);
      assert.equal(done.code, 0, `${lines}\n${done.stdout}${done.stderr}`);
    });
  }
});

/** A directory is listed, a file read to its end. */
function tryPath(verb: string, path: string): string {
  if (verb === 'stat ') return `stat '${path}' > /dev/null`;
  return path.endsWith('/') ? `ls -l '${path}' > /dev/null` : `cat '${path}' > /dev/null`;
}
