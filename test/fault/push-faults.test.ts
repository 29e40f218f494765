/** Bad answers at every request of a push, and uploads cut in the middle. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { startFaultRegistry, type Fault } from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import { createPrng } from '../support/prng.js';
import { assertTagsWhole, imageFiles, pushMount, until } from '../support/push-fixture.js';
import { openTestStore, hastyOptions } from '../support/registry-client.js';
import { tempDir } from '../support/temp.js';

const timeout = 120_000;
const client = { chunkBytes: 512 * 1024, retries: 2 };

const login = { kind: 'bearer', users: { me: 'pw' }, refreshTokens: false } as const;

const answers: readonly (readonly [string, Fault])[] = [
  ['429', { kind: 'status', status: 429, retryAfter: 0 }],
  ['500', { kind: 'status', status: 500 }],
  ['503 with Retry-After', { kind: 'status', status: 503, retryAfter: 0 }],
  ['a cut after the request was carried out', { kind: 'reset', when: 'handled' }],
];

for (const [what, fault] of answers) {
  test(`${what}, once at each request of a push, is not noticed`, { timeout }, async (t) => {
    const image = await sampleImage({ payloadBytes: 1_100_000 });
    let requests = 0;
    for (let nth = 1; ; nth += 1) {
      const registry = await startFaultRegistry();
      registry.fault({ match: { nth }, fault });
      const mount = pushMount(registry, await tempDir(t, 'push-fault'), { client });
      const base = `${registry.host}/app`;
      try {
        for (const path of ['', '/v1', '/v1/layers']) await mount.mkdir(`${base}${path}`);
        for (const [name, bytes] of imageFiles(image)) await mount.cp(bytes, `${base}/v1/${name}`);
        assert.equal(
          registry.content.repositories.get('app')?.tags.get('v1'),
          image.descriptor.digest,
          `${what} at request ${nth}`,
        );
        if (registry.requests.length < nth) break;
        requests = nth;
      } finally {
        await mount.close();
        await registry.close();
      }
    }
    assert.ok(requests > 15, `${requests} requests`);
  });
}

const refusals: readonly (readonly [string, number, string])[] = [
  ['a quota (403)', 403, 'denied'],
  ['a full store (507)', 507, 'unavailable'],
];

for (const [what, status] of refusals) {
  test(
    `${what} at every change is an error of close, nothing is lost, no tag is made`,
    { timeout },
    async (t) => {
      const registry = await startFaultRegistry();
      t.after(() => registry.close());
      registry.fault({ match: { method: ['POST', 'PUT', 'PATCH'] }, fault: { kind: 'status', status } });
      const mount = pushMount(registry, await tempDir(t, 'push-fault'), { client });
      t.after(() => mount.close());
      const image = await sampleImage({ payloadBytes: 1_100_000 });
      const base = `${registry.host}/app`;
      for (const path of ['', '/v1', '/v1/layers']) await mount.mkdir(`${base}${path}`);
      let failures = 0;
      for (const [name, bytes] of imageFiles(image))
        await mount.cp(bytes, `${base}/v1/${name}`).catch(() => (failures += 1));
      assert.ok(failures >= image.blobs.length);
      assertTagsWhole(registry, what);
      registry.clearFaults();
      for (const [name, bytes] of imageFiles(image)) {
        if (name === 'manifest.json') continue;
        // A refusal is not tried again by itself; the same command is.
        await mount.cp(bytes, `${base}/v1/${name}`);
      }
      assert.equal(registry.content.repositories.get('app')?.tags.get('v1'), image.descriptor.digest);
    },
  );
}

test('a 413 makes chunks smaller', { timeout }, async (t) => {
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  const tooLarge = 1024 * 1024;
  registry.fault({
    match: { method: 'PATCH', when: ({ headers }) => Number(headers['content-length']) > tooLarge },
    fault: { kind: 'status', status: 413 },
  });
  const mount = pushMount(registry, await tempDir(t, 'push-fault'), { client: { chunkBytes: 4 << 20 } });
  t.after(() => mount.close());
  const bytes = createPrng(3).bytes(6_000_000);
  await mount.mkdir(`${registry.host}/app`);
  await mount.cp(bytes, `${registry.host}/app/@uploads/a`);
  assert.ok(registry.content.repositories.get('app')?.blobs.has(digestOf(bytes)));
});

test('a token that expires in mid-upload is renewed', { timeout }, async (t) => {
  const registry = await startFaultRegistry({ auth: login });
  t.after(() => registry.close());
  const store = openTestStore(registry, {
    login: { username: 'me', password: 'pw' },
    options: { ...hastyOptions, ...client },
  });
  t.after(() => store.close());
  const bytes = createPrng(3).bytes(2_000_000);
  const upload = await store.startUpload('app', {});
  for (let at = 0; at < bytes.length; at += 500_000) {
    await upload.write(bytes.subarray(at, at + 500_000));
    registry.advanceClock(400_000);
  }
  await upload.finish(digestOf(bytes));
  assert.ok(registry.content.repositories.get('app')?.blobs.has(digestOf(bytes)));
});

test(
  'an upload whose Location is on another host is refused, and no credential goes there',
  { timeout },
  async (t) => {
    const registry = await startFaultRegistry({ auth: login });
    t.after(() => registry.close());
    registry.fault({
      match: { method: 'POST', path: /uploads/ },
      fault: {
        kind: 'headers',
        set: { Location: `${registry.strangerUrl}/v2/app/blobs/uploads/1?_state=x` },
      },
    });
    const store = openTestStore(registry, {
      login: { username: 'me', password: 'pw' },
      options: { ...hastyOptions, ...client },
    });
    t.after(() => store.close());
    const bytes = Buffer.from('content');
    await assert.rejects(async () => {
      const upload = await store.startUpload('app', {});
      await upload.write(bytes);
      await upload.finish(digestOf(bytes));
    });
    for (const { headers } of registry.requestsTo({ role: 'stranger' }))
      assert.equal(headers['authorization'], undefined);
  },
);

/** How many; the issue asks for a hundred. */
const cuts = Number(process.env['IMGFS_TEST_CUTS'] ?? 100);

test(`an upload cut at ${cuts} seeded offsets sends less than one chunk again`, { timeout }, async (t) => {
  const random = createPrng(5);
  const bytes = random.bytes(3_000_000);
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  for (let cut = 0; cut < cuts; cut += 1) {
    const offset = 1 + random.integer(bytes.length - 1);
    const repository = `app${cut}`;
    const store = openTestStore(registry, { options: { ...hastyOptions, ...client } });
    const first = await store.startUpload(repository, {});
    await first.write(bytes.subarray(0, offset));
    // What a process that dies here has noted of it.
    const confirmed = first.offset;
    const token = first.resumeToken;
    // What it has sent arrives, as it does of a dead process; that of a living one may come behind the next one's question.
    await first.status();
    const second = await store.resumeUpload(repository, token);
    const from = await second.status();
    assert.ok(from >= confirmed && from <= offset, `cut at ${offset}: goes on at ${from}`);
    assert.ok(offset - from < 2 * client.chunkBytes, `cut at ${offset}: ${offset - from} bytes again`);
    const sentBefore = registry.requests
      .filter(({ path }) => path.includes(`/${repository}/`))
      .reduce((sum, { headers }) => sum + Number(headers['content-length'] ?? 0), 0);
    await second.write(bytes.subarray(from));
    await second.finish(digestOf(bytes));
    assert.ok(registry.content.repositories.get(repository)?.blobs.has(digestOf(bytes)));
    const sent = registry.requests
      .filter(({ path }) => path.includes(`/${repository}/`))
      .reduce((sum, { headers }) => sum + Number(headers['content-length'] ?? 0), 0);
    assert.ok(
      sent - bytes.length < client.chunkBytes,
      `cut at ${offset}: ${sent - bytes.length} bytes twice`,
    );
    assert.ok(sentBefore >= from);
    await store.close();
  }
});

test(
  'random operations on a file in @uploads before close give what they would on a disk',
  { timeout },
  async (t) => {
    const registry = await startFaultRegistry();
    t.after(() => registry.close());
    const mount = pushMount(registry, await tempDir(t, 'fsx'), { client });
    t.after(() => mount.close());
    const { fileSystem, tree } = mount;
    await mount.mkdir(`${registry.host}/app`);
    const operations = Number(process.env['IMGFS_TEST_FSX'] ?? 400);
    for (let seed = 1; seed <= 3; seed += 1) {
      const random = createPrng(seed);
      const path = `${registry.host}/app/@uploads/f${seed}`;
      const handle = await mount.openNew(path);
      const inode = await tree.inode(path);
      let model = Buffer.alloc(0);
      const grow = (size: number): void => {
        if (size > model.length) model = Buffer.concat([model, Buffer.alloc(size - model.length)]);
      };
      for (let step = 0; step < operations; step += 1) {
        const what = `seed ${seed}, step ${step}`;
        const kind = random.integer(10);
        if (kind < 5) {
          const position = kind < 2 ? model.length : random.integer(2_000_000);
          const data = random.bytes(1 + random.integer(60_000));
          await fileSystem.write(tree.caller, handle, data, position);
          grow(position + data.length);
          model.set(data, position);
        } else if (kind < 6) {
          const size = random.integer(model.length + 10_000);
          await fileSystem.setattr(
            tree.caller,
            inode,
            { size },
            random.integer(2) === 0 ? handle : undefined,
          );
          grow(size);
          model = Buffer.from(model.subarray(0, size));
        } else if (kind < 9) {
          const position = random.integer(model.length + 10_000);
          const buffer = Buffer.alloc(1 + random.integer(60_000));
          const length = await fileSystem.read(tree.caller, handle, buffer, position);
          assert.ok(
            buffer.subarray(0, length).equals(model.subarray(position, position + buffer.length)),
            what,
          );
        } else if (random.integer(10) === 0) {
          await fileSystem.fsync(tree.caller, handle);
          assert.ok(registry.content.repositories.get('app')?.blobs.has(digestOf(model)), `${what}: fsync`);
        } else {
          assert.equal((await tree.stat(path)).size, model.length, what);
        }
      }
      await fileSystem.flush(tree.caller, handle);
      await fileSystem.release(handle);
      assert.equal(await tree.xattr(path, 'user.oci.digest'), digestOf(model));
      await until(
        'the blob is there',
        () => registry.content.repositories.get('app')?.blobs.has(digestOf(model)) === true,
      );
    }
  },
);
