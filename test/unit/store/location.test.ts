import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import {
  formatLocation,
  locationTarget,
  parseLocation,
  transportNames,
  type Location,
} from '../../../src/store/location.js';

const hex = 'a'.repeat(64);

/** text → transport, then path or name or repository, then the target */
const valid: readonly (readonly [string, string, object | undefined])[] = [
  ['docker://alpine', 'docker://docker.io/library/alpine', { repository: 'library/alpine' }],
  ['docker://localhost:5000/a/b:c', 'docker://localhost:5000/a/b:c', { repository: 'a/b', tag: 'c' }],
  ['alpine:3.20', 'docker://docker.io/library/alpine:3.20', { repository: 'library/alpine', tag: '3.20' }],
  ['ghcr.io/me/app', 'docker://ghcr.io/me/app', { repository: 'me/app' }],
  [
    `quay.io/a/b@sha256:${hex}`,
    `docker://quay.io/a/b@sha256:${hex}`,
    { repository: 'a/b', digest: `sha256:${hex}` },
  ],
  ['oci:/srv/layout', 'oci:/srv/layout', undefined],
  ['oci:layout:v1', 'oci:layout:v1', { repository: '', tag: 'v1' }],
  ['oci:layout:', 'oci:layout', undefined],
  ['oci:.:@3', 'oci:.:@3', { repository: '', tag: '@3' }],
  [`oci:.:@sha256:${hex}`, `oci:.:@sha256:${hex}`, { repository: '', digest: `sha256:${hex}` }],
  ['oci:l:alpine:3.20', 'oci:l:alpine:3.20', { repository: 'docker.io/library/alpine', tag: '3.20' }],
  ['oci:l:h:5000/a:b', 'oci:l:h:5000/a:b', { repository: 'h:5000/a', tag: 'b' }],
  ['oci:l:v1+build', 'oci:l:v1+build', { repository: '', tag: 'v1+build' }],
  ['oci-archive:a b.tar:v1', 'oci-archive:a b.tar:v1', { repository: '', tag: 'v1' }],
  ['docker-archive:a.tar', 'docker-archive:a.tar', undefined],
  [
    'docker-archive:a.tar:alpine',
    'docker-archive:a.tar:alpine',
    { repository: 'docker.io/library/alpine', tag: 'latest' },
  ],
  ['docker-archive:a.tar:@0', 'docker-archive:a.tar:@0', { repository: '', tag: '@0' }],
  ['dir:/a:b', 'dir:/a:b', undefined],
  ['tarball:a.tar:b.tar.gz', 'tarball:a.tar:b.tar.gz', undefined],
  ['sif:x.sif', 'sif:x.sif', undefined],
];

describe('parseLocation', () => {
  for (const [text, formatted, target] of valid) {
    it(`reads ${text}`, () => {
      const location = parseLocation(text);
      assert.equal(formatLocation(location), formatted);
      assert.deepEqual(parseLocation(formatted), location);
      assert.ok(!('name' in location));
      assert.deepEqual(locationTarget(location), target);
    });
  }

  it('leaves engines their own grammar', () => {
    for (const text of ['containers-storage:[overlay@/x]a:b', 'docker-daemon:a:b', 'containerd:k8s.io/a']) {
      assert.equal(formatLocation(parseLocation(text)), text);
    }
  });

  for (const text of [
    'oic:./layout',
    'https://example.com/a',
    'ocidir://x',
    'docker:alpine',
    'oci:',
    'dir:',
    'oci::tag',
    'oci:p:@x',
    'ftp:/a',
  ]) {
    it(`refuses ${text}, listing what there is`, () => {
      assert.throws(
        () => parseLocation(text),
        (error) => {
          assert.ok(isImgfsError(error, 'usage'), String(error));
          for (const name of transportNames) assert.ok(error.hint?.includes(`${name}:`), name);
          return true;
        },
      );
    });
  }

  it('calls a bad reference a bad reference', () => {
    for (const text of ['', 'Alpine', 'docker://A/B', 'a b']) {
      assert.throws(
        () => parseLocation(text),
        (error) => isImgfsError(error, 'name-invalid'),
      );
    }
  });

  it('never throws anything but usage and name-invalid, and formats what it reads', () => {
    const text = fc.tuple(
      fc.constantFrom('', 'x:', ...transportNames.map((name) => `${name}:`), 'docker://'),
      fc.string({ maxLength: 30 }),
    );
    fc.assert(
      fc.property(text, ([prefix, rest]) => {
        let location: Location;
        try {
          location = parseLocation(prefix + rest);
        } catch (error) {
          assert.ok(isImgfsError(error, 'usage') || isImgfsError(error, 'name-invalid'), String(error));
          return;
        }
        assert.deepEqual(parseLocation(formatLocation(location)), location);
        if (!('name' in location)) locationTarget(location);
      }),
      { numRuns: 2000 },
    );
  });
});
