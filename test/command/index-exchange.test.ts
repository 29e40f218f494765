/** `imgfs index push`, `pull` and `ls`, and what a first touch through such an index costs. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { buildImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { createPrng } from '../support/prng.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe('imgfs index push and pull', { timeout: 180_000 }, () => {
  let registry: FaultRegistry;
  let directory: string;
  let layer: string;
  let layerSize = 0;
  const content = Buffer.from(createPrng(3).bytes(40_000));

  const fresh = (name: string): ImgfsCommand => imgfsIn(join(directory, name));
  const ref = (tag: string): string => `${registry.host}/group/app:${tag}`;
  const layerBytes = (): number =>
    registry.requests
      .filter(({ method, path }) => method === 'GET' && path.endsWith(layer))
      .reduce((sum, { headers }) => {
        const [, start, end] = /bytes=(\d+)-(\d+)/.exec(headers['range'] ?? '') ?? [];
        return sum + (end === undefined ? layerSize : Number(end) - Number(start) + 1);
      }, 0);

  before(async () => {
    registry = await startFaultRegistry();
    directory = await makeTempDir('exchange');
    const prng = createPrng(7);
    const image = await buildImage({
      layers: [
        {
          entries: [
            { name: 'usr/' },
            ...Array.from({ length: 100 }, (_, index) => ({
              name: `usr/f${index}`,
              content: prng.bytes(100_000),
            })),
            { name: 'usr/wanted', content },
            { name: 'usr/link', linkname: 'wanted' },
            ...Array.from({ length: 100 }, (_, index) => ({
              name: `usr/g${index}`,
              content: prng.bytes(100_000),
            })),
          ],
        },
      ],
    });
    registry.addImage('group/app', image, 'v1');
    layer = image.layers[0]?.descriptor.digest ?? '';
    layerSize = image.layers[0]?.descriptor.size ?? 0;
  });

  after(async () => {
    await registry.close();
    await removeTempDir(directory);
  });

  test('push puts a referrer that names the image; pull takes it only from who trusts it', async () => {
    const maker = fresh('maker');
    const pushed = await maker(['index', 'push', ref('v1'), '--span-size', '1MiB', '--json']);
    assert.equal(pushed.code, 0, pushed.stderr);
    const { digest, layers } = JSON.parse(pushed.stdout) as { digest: string; layers: string[] };
    assert.deepEqual(layers, [layer]);
    const manifest = JSON.parse((await maker(['manifest', 'get', `${registry.host}/group/app@${digest}`])).stdout) as { subject: { digest: string }; config: { mediaType: string } }; // prettier-ignore
    const subject = (await maker(['resolve', ref('v1')])).stdout.trim();
    assert.equal(manifest.subject.digest, subject);
    assert.equal(manifest.config.mediaType, 'application/vnd.amazon.soci.index.v1+json');

    const taker = fresh('taker');
    const refused = await taker(['index', 'pull', ref('v1')]);
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /--trust/);
    const pulled = await taker(['index', 'pull', '--trust', ref('v1')]);
    assert.equal(pulled.code, 0, pulled.stderr);
    assert.match(pulled.stdout, /203 entries, soci/);
    assert.match((await taker(['index', 'ls'])).stdout, /soci, pulled/);

    const before = layerBytes();
    const read = await taker(['cat', `${registry.host}/group/app/v1/rootfs/usr/wanted`]);
    assert.equal(read.code, 0, read.stderr);
    assert.ok(layerBytes() - before < layerSize / 4, `${layerBytes() - before} bytes`);
    assert.match((await maker(['index', 'ls'])).stdout, /own pass/);
  });

  test('push --as puts an image that names its index, which needs no trust', async () => {
    const maker = fresh('maker');
    const pushed = await maker(['index', 'push', ref('v1'), '--as', 'v1-soci', '--span-size', '1MiB']);
    assert.equal(pushed.code, 0, pushed.stderr);
    const taker = fresh('second');
    const pulled = await taker(['index', 'pull', ref('v1-soci')]);
    assert.equal(pulled.code, 0, pulled.stderr);
    assert.match(pulled.stdout, /203 entries, soci/);
    assert.match((await taker(['index', 'ls'])).stdout, /soci of its image/);

    const third = fresh('third');
    const before = layerBytes();
    const listed = await third(['find', `${ref('v1-soci')}:/usr`]);
    assert.equal(listed.code, 0, listed.stderr);
    assert.equal(layerBytes() - before, 0, 'names come from the zTOC alone');
    const removed = await third(['index', 'rm', '--all']);
    assert.match(removed.stdout, /removed 1 indexes/);
  });

  test('an image of nothing that SOCI knows is told so', async () => {
    const { code, stderr } = await fresh('maker')(['index', 'push', ref('v1'), '--min-layer-size', '1GiB']);
    assert.notEqual(code, 0);
    assert.match(stderr, /no layer that it could tell about/);
  });
});
