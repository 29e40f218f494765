/**
 * A registry that dies at each request of a push in turn, and comes back: the push is `cp -r` of an image directory
 * through the tree. Nothing is lost, nothing has to be done again, and no tag names an image that is not whole.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { assertTagsWhole, imageFiles, pushMount, until, type PushMount } from '../support/push-fixture.js';
import { tempDir } from '../support/temp.js';

const timeout = 120_000;

/** Layers of more than two chunks, so that requests of all kinds are among those that are cut. */
const client = { chunkBytes: 512 * 1024, retries: 1 };

/** `cp -r`: goes on after a failure, and tells of it at the end. */
async function copyTree(mount: PushMount, base: string, image: BuiltSingleImage): Promise<number> {
  let failures = 0;
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch {
      failures += 1;
    }
  };
  for (const path of ['', '/v1', '/v1/layers']) await attempt(() => mount.mkdir(`${base}${path}`));
  for (const [name, bytes] of imageFiles(image)) await attempt(() => mount.cp(bytes, `${base}/v1/${name}`));
  return failures;
}

interface Death {
  /** Requests until then, that one included. */
  readonly at: number;
  /** Before the request is carried out, after that (the answer is lost), or in the answer. */
  readonly when: 'request' | 'handled';
  /** Milliseconds until it is back; undefined: not before the copy has ended. */
  readonly backAfterMs?: number;
}

/** True when it came to that request. */
function dieAt(registry: FaultRegistry, { at, when, backAfterMs }: Death): () => boolean {
  let seen = 0;
  registry.fault({
    match: {
      when: () => {
        seen += 1;
        if (seen !== at) return false;
        // Whatever is under way then is cut too.
        setImmediate(() => {
          void registry.suspend().then(() => {
            if (backAfterMs !== undefined) setTimeout(() => void registry.resume(), backAfterMs);
          });
        });
        return true;
      },
    },
    fault: { kind: 'reset', when },
  });
  return () => seen >= at;
}

async function pushThroughDeath(
  t: TestContext,
  image: BuiltSingleImage,
  death: Death,
  dialect: 'spec' | 'docker-2.8',
  restart: boolean,
): Promise<boolean> {
  const registry = await startFaultRegistry({ dialect });
  const directory = await tempDir(t, 'push-cut');
  const what = `${dialect}, death at ${death.at} (${death.when}), ${restart ? 'restart' : 'same mount'}`;
  let mount = pushMount(registry, directory, { client });
  const base = `${registry.host}/app`;
  const tag = () => registry.content.repositories.get('app')?.tags.get('v1');
  try {
    const died = dieAt(registry, death);
    const failures = await copyTree(mount, base, image);
    assertTagsWhole(registry, what);
    if (failures === 0) assert.equal(tag(), image.descriptor.digest, `${what}: success without a tag`);
    if (restart) await mount.close();
    if (!died()) return false;
    if (death.backAfterMs === undefined) await registry.resume();
    if (restart) mount = pushMount(registry, directory, { client });
    await until(what, () => tag() !== undefined);
    assert.equal(tag(), image.descriptor.digest, what);
    assertTagsWhole(registry, what);
    for (const { descriptor } of image.blobs) {
      const url = `${registry.url}/v2/app/blobs/${descriptor.digest}`;
      const head = await fetch(url, { method: 'HEAD' });
      assert.equal(head.headers.get('content-length'), String(descriptor.size), what);
    }
    return true;
  } finally {
    await mount.close();
    await registry.close();
  }
}

const cases = [
  ['spec', false],
  ['spec', true],
  ['docker-2.8', true],
] as const;

for (const [dialect, restart] of cases) {
  test(
    `a push outlives the death of a ${dialect} registry at each of its requests, ${restart ? 'and of its mount' : 'by itself'}`,
    { timeout },
    async (t) => {
      const image = await sampleImage({ payloadBytes: 1_300_000 });
      let deaths = 0;
      for (let at = 1; ; at += 1) {
        let died = false;
        for (const when of ['request', 'handled'] as const)
          died = (await pushThroughDeath(t, image, { at, when }, dialect, restart)) || died;
        if (!died) break;
        deaths += 1;
      }
      t.diagnostic(`${deaths} cut points, each twice`);
      assert.ok(deaths > 15, `${deaths} requests`);
    },
  );
}

test('a registry that is back at once is not noticed by cp -r', { timeout }, async (t) => {
  const image = await sampleImage({ payloadBytes: 1_300_000 });
  for (let at = 1; ; at += 1) {
    const death: Death = { at, when: at % 2 === 0 ? 'handled' : 'request', backAfterMs: 5 };
    if (!(await pushThroughDeath(t, image, death, 'spec', false))) break;
  }
});
