import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  acceptedManifestTypes,
  baseMediaType,
  isForeignLayer,
  isTreeLayer,
  layerCompression,
  layerSuffix,
  manifestKind,
  mediaTypes,
} from '../../../src/oci/media-type.js';

const table: readonly (readonly [string, ReturnType<typeof layerCompression>, string, boolean, boolean])[] = [
  [mediaTypes.ociLayer, 'none', '.tar', true, false],
  [mediaTypes.ociLayerGzip, 'gzip', '.tar.gz', true, false],
  [mediaTypes.ociLayerZstd, 'zstd', '.tar.zst', true, false],
  [mediaTypes.dockerLayer, 'none', '.tar', true, false],
  [mediaTypes.dockerLayerGzip, 'gzip', '.tar.gz', true, false],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'zstd', '.tar.zst', true, false],
  [mediaTypes.dockerForeignLayerGzip, 'gzip', '.tar.gz', true, true],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'gzip', '.tar.gz', true, true],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar', 'none', '.tar', true, true],
  ['application/vnd.oci.image.layer.v1.tar+gzip+encrypted', 'unknown', '.enc', false, false],
  ['application/vnd.in-toto+json', 'unknown', '.json', false, false],
  ['application/vnd.cncf.helm.chart.content.v1.tar+gzip', 'gzip', '.tar.gz', false, false],
  ['application/octet-stream', 'unknown', '.blob', false, false],
];

for (const [type, compression, suffix, tree, foreign] of table) {
  it(`knows ${type}`, () => {
    assert.equal(layerCompression(type), compression);
    assert.equal(layerSuffix(type), suffix);
    assert.equal(isTreeLayer(type), tree);
    assert.equal(isForeignLayer(type), foreign);
    assert.equal(manifestKind(type), undefined);
  });
}

it('asks for every kind of manifest but schema 1', () => {
  assert.deepEqual(acceptedManifestTypes.map(manifestKind), ['image', 'index', 'image', 'index', 'artifact']);
  assert.equal(manifestKind(mediaTypes.dockerSchema1Signed), 'schema1');
});

it('strips parameters and case from a header', () => {
  assert.equal(baseMediaType(' Application/JSON ; charset=utf-8'), 'application/json');
  assert.equal(baseMediaType(''), '');
});
