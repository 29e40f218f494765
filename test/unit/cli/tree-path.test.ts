import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTreePath } from '../../../src/cli/tree-path.js';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';

const hex = 'a'.repeat(64);

const cases: [text: string, path: string, location?: string][] = [
  ['/', ''],
  ['docker.io', 'docker.io'],
  ['docker.io/library/alpine/3.20/manifest.json', 'docker.io/library/alpine/3.20/manifest.json'],
  ['/docker.io/library', 'docker.io/library'],
  ['localhost:5000/app/v1/layers', 'localhost:5000/app/v1/layers'],
  ['localhost:5000', 'localhost:5000'],
  ['.imgfs/status.json', '.imgfs/status.json'],
  ['blobs/sha256', 'blobs/sha256'],
  ['alpine', 'docker.io/library/alpine/@tags/latest'],
  ['alpine:3.20', 'docker.io/library/alpine/@tags/3.20'],
  ['docker://alpine:3.20', 'docker.io/library/alpine/@tags/3.20'],
  ['ghcr.io/me/app:v1', 'ghcr.io/me/app/@tags/v1'],
  [`ghcr.io/me/app@sha256:${hex}`, `ghcr.io/me/app/@digests/sha256/${hex}`],
  [`ghcr.io/me/app/@digests/sha256/${hex}/config.json`, `ghcr.io/me/app/@digests/sha256/${hex}/config.json`],
  ['alpine:3.20/manifest.json', 'docker.io/library/alpine/@tags/3.20/manifest.json'],
  ['docker://ghcr.io/me/app:v1/layers/0.tar.gz', 'ghcr.io/me/app/@tags/v1/layers/0.tar.gz'],
  ['oci:/srv/layout:v1/config.json', 'store/@tags/v1/config.json', 'oci:/srv/layout'],
  ['oci:/srv/layout:v1:/etc/passwd', 'store/@tags/v1/rootfs/etc/passwd', 'oci:/srv/layout'],
  ['oci:/srv/layout:@0', 'store/@tags/@0', 'oci:/srv/layout'],
  [
    'docker-archive:/srv/a.tar:app:v1/layers',
    'store/docker.io/library/app/@tags/v1/layers',
    'docker-archive:/srv/a.tar',
  ],
  ['dir:/srv/image', 'store', 'dir:/srv/image'],
  ['alpine:3.20:/etc/os-release', 'docker.io/library/alpine/@tags/3.20/rootfs/etc/os-release'],
  ['ghcr.io/me/app:v1:/usr', 'ghcr.io/me/app/@tags/v1/rootfs/usr'],
  ['127.0.0.1:5000/me/app:v1:/', '127.0.0.1:5000/me/app/@tags/v1/rootfs'],
  ['docker://ghcr.io/me/app:v1:/usr', 'ghcr.io/me/app/@tags/v1/rootfs/usr'],
  ['INDEX.docker.io/library/alpine/3.20', 'docker.io/library/alpine/3.20'],
  ['oci:/srv/layout', 'store', 'oci:/srv/layout'],
  ['oci:/srv/layout:v1', 'store/@tags/v1', 'oci:/srv/layout'],
  ['oci:/srv/layout:ghcr.io/me/app:v1', 'store/ghcr.io/me/app/@tags/v1', 'oci:/srv/layout'],
];

for (const [text, path, location] of cases) {
  test(`${text} is ${path === '' ? 'the root' : path}`, () => {
    const parsed = parseTreePath(text);
    assert.equal(parsed.components.join('/'), path);
    assert.equal(parsed.store?.location, location);
  });
}

for (const text of ['https://example.com/x', 'oci:', 'Alpine', 'docker.io/../etc', 'alpine:3:/../../etc']) {
  test(`${text} is refused as a usage error`, () => {
    assert.throws(
      () => parseTreePath(text),
      (error) => isImgfsError(error, 'usage') || isImgfsError(error, 'name-invalid'),
    );
  });
}
