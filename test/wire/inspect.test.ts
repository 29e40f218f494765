/** `imgfs inspect` beside `skopeo inspect`: every field that skopeo prints has the same value. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';
import { skipWithout } from '../support/child.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { buildIndex, sampleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { pushImage } from '../support/push-image.js';
import { skopeoCopy, skopeoInspect } from '../support/skopeo.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe(
  'inspect agrees with skopeo',
  { skip: skipWithout('skopeo', 'docker-registry'), timeout: 120_000 },
  () => {
    let registry: DockerRegistry;
    let directory: string;
    let imgfs: ImgfsCommand;

    before(async () => {
      registry = await startDockerRegistry();
      directory = await makeTempDir('inspect');
      imgfs = imgfsIn(directory);
      const image = await sampleImage();
      await pushImage(registry.url, 'group/app', image, 'v1');
      await pushImage(registry.url, 'group/app', image, 'v2');
      await pushImage(registry.url, 'group/multi', await buildIndex([image]), 'v1');
      await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
      await skopeoCopy(`oci:${join(directory, 'layout')}:v1`, `dir:${join(directory, 'dir')}`);
      await skopeoCopy(
        `oci:${join(directory, 'layout')}:v1`,
        `oci-archive:${join(directory, 'image.tar')}:v1`,
      );
    });

    after(async () => {
      await registry.close();
      await removeTempDir(directory);
    });

    const places: [name: string, place: () => string][] = [
      ['an image of a registry', () => `docker://${registry.host}/group/app:v1`],
      ['an index of a registry', () => `docker://${registry.host}/group/multi:v1`],
      ['an OCI layout', () => `oci:${join(directory, 'layout')}:v1`],
      ['an OCI archive', () => `oci-archive:${join(directory, 'image.tar')}:v1`],
      ['a directory', () => `dir:${join(directory, 'dir')}`],
    ];

    for (const [name, place] of places) {
      test(name, async () => {
        const theirs = await skopeoInspect(place());
        const { code, stdout, stderr } = await imgfs(['inspect', place()]);
        assert.equal(code, 0, stderr);
        const ours = JSON.parse(stdout) as Record<string, unknown>;
        for (const [field, value] of Object.entries(theirs)) {
          const own = field === 'LayersData' ? withoutDiffIds(ours[field]) : ours[field];
          assert.deepEqual(own, value, field);
        }
      });
    }
  },
);

/** Our layers also tell the digest of the layer uncompressed. */
function withoutDiffIds(layers: unknown): unknown {
  if (!Array.isArray(layers)) return layers;
  return layers.map((layer: Record<string, unknown>) => {
    const { DiffID, ...rest } = layer;
    assert.match(String(DiffID), /^sha256:/);
    return rest;
  });
}
