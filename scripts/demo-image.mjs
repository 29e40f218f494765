// Makes a real image in an OCI layout, through the library: layers are the files of installed Debian packages.
//
//   node scripts/demo-image.mjs LAYOUT TAG PACKAGES [PACKAGES…]
//
// Each PACKAGES (comma-separated names) becomes one layer.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, lstatSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { digestOf, mediaTypes, openLayoutStore } from '../dist/src/index.js';

const [layout, tag, ...layerPackages] = process.argv.slice(2);
if (tag === undefined || layerPackages.length === 0) {
  console.error('usage: demo-image.mjs LAYOUT TAG PACKAGES [PACKAGES…]');
  process.exit(2);
}

/** Package files can be missing (documentation is often left out) or closed to an ordinary user. */
function isReadable(path) {
  try {
    if (!lstatSync(path).isSymbolicLink()) accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** A tar of everything that the packages own, as it is on this machine. */
function packageTar(packages) {
  const listed = execFileSync('dpkg', ['-L', ...packages], { encoding: 'utf8' }).split('\n');
  const paths = [...new Set(listed)]
    .filter((path) => path.startsWith('/') && path !== '/.' && isReadable(path))
    .sort();
  const options = ['--create', '--no-recursion', '--numeric-owner', '--owner=0', '--group=0', '--null'];
  return execFileSync('tar', [...options, '--files-from=-'], {
    input: paths.map((path) => `${path}\0`).join(''),
    maxBuffer: 2 ** 30,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}

async function pushBlob(store, bytes, mediaType) {
  const upload = await store.startUpload('', { size: bytes.length });
  await upload.write(bytes);
  const { digest } = await upload.finish(digestOf(bytes));
  return { mediaType, digest, size: bytes.length };
}

const store = await openLayoutStore(layout, { create: true });
const layers = [];
const diffIds = [];
for (const names of layerPackages) {
  const tar = packageTar(names.split(','));
  diffIds.push(`sha256:${createHash('sha256').update(tar).digest('hex')}`);
  layers.push(await pushBlob(store, gzipSync(tar), mediaTypes.ociLayerGzip));
}
const created = new Date().toISOString();
const config = {
  created,
  architecture: { x64: 'amd64' }[process.arch] ?? process.arch,
  os: 'linux',
  config: {
    Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
    Cmd: ['/bin/bash'],
    Labels: { 'org.example.made-by': 'imgfs demo' },
  },
  rootfs: { type: 'layers', diff_ids: diffIds },
  history: layerPackages.map((names) => ({ created, created_by: `COPY packages ${names}` })),
};
const manifest = {
  schemaVersion: 2,
  mediaType: mediaTypes.ociManifest,
  config: await pushBlob(store, Buffer.from(JSON.stringify(config)), mediaTypes.ociConfig),
  layers,
};
const { digest } = await store.putManifest(
  '',
  Buffer.from(JSON.stringify(manifest)),
  mediaTypes.ociManifest,
  { tags: [tag] },
);
await store.close();
console.log(`${tag} ${digest}`);
