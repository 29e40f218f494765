import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Uploads } from '../../../src/image/upload/uploads.js';
import { digestOf } from '../../../src/oci/digest.js';
import type { RegistryOptions } from '../../../src/store/registry/options.js';
import { startFaultRegistry, type FaultRegistryOptions } from '../../support/fault-registry/index.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { createPrng } from '../../support/prng.js';
import { tempDir } from '../../support/temp.js';

const timeout = 20_000;
const mib = 1024 * 1024;

async function setUp(
  t: TestContext,
  options: FaultRegistryOptions = {},
  client: Partial<RegistryOptions> = {},
) {
  const directory = await tempDir(t, 'uploads');
  const registry = await startFaultRegistry(options);
  t.after(() => registry.close());
  const store = openTestStore(registry, { options: { ...hastyOptions, ...client } });
  t.after(() => store.close());
  const uploads = new Uploads({ cacheDirectory: directory });
  t.after(() => uploads.drain(1000));
  const place = { store, repository: 'group/app', name: 'blob' };
  /** The repository has exactly these bytes. */
  const isStored = (bytes: Uint8Array): boolean => {
    const digest = digestOf(bytes);
    const blob =
      registry.content.repositories.get('group/app')?.blobs.has(digest) === true
        ? registry.content.blobs.get(digest)
        : undefined;
    return (
      blob !== undefined && blob.size === bytes.length && Buffer.from(blob.slice(0, blob.size)).equals(bytes)
    );
  };
  return { directory, registry, store, uploads, place, isStored };
}

const bytesOf = (length: number, seed = 7): Buffer => {
  const random = createPrng(seed);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4096)
    bytes.writeUInt32LE(random.integer(0x7fff_ffff), Math.min(at, length - 4));
  return bytes;
};

test('a small blob goes up in one request, after the store was asked for it', { timeout }, async (t) => {
  const { uploads, place, registry, isStored, directory } = await setUp(t);
  const bytes = bytesOf(100_000);
  const writer = await uploads.start(place);
  await writer.write(bytes.subarray(0, 60_000), 0);
  await writer.write(bytes.subarray(60_000), 60_000);
  const { kind, descriptor } = await writer.commit();
  assert.equal(kind, 'sent');
  assert.equal(descriptor.digest, digestOf(bytes));
  assert.ok(isStored(bytes));
  const methods = registry.requests.map(({ method }) => method);
  assert.deepEqual(methods, ['HEAD', 'POST', 'HEAD']);
  await uploads.close(writer);
  assert.deepEqual(await readdir(join(directory, 'uploads')), []);
});

test('a large blob is sent while it arrives', { timeout }, async (t) => {
  const { uploads, place, registry, isStored } = await setUp(t, {}, { chunkBytes: 4 * mib });
  const bytes = bytesOf(26 * mib);
  const writer = await uploads.start(place);
  for (let at = 0; at < bytes.length; at += mib) {
    await writer.write(bytes.subarray(at, at + mib), at);
    await new Promise((wake) => setImmediate(wake));
  }
  while (writer.sentBytes < 12 * mib) await new Promise((wake) => setTimeout(wake, 5));
  assert.ok(registry.requestsTo({ method: 'PATCH' }).length >= 3);
  await writer.commit();
  assert.ok(isStored(bytes));
});

test('a failed upload that is written anew is not sent by itself meanwhile', { timeout }, async (t) => {
  const { store, place, registry, directory, isStored } = await setUp(t);
  const uploads = new Uploads({ cacheDirectory: directory, retryAfterMs: [10] });
  t.after(() => uploads.drain(1000));
  registry.fault({ match: { method: ['POST', 'PUT', 'PATCH'] }, fault: { kind: 'status', status: 507 } });
  const [before, bytes] = [bytesOf(50_000), bytesOf(70_000, 8)];
  const writer = await uploads.start({ ...place, store });
  await writer.write(before, 0);
  await assert.rejects(writer.commit(), { code: 'unavailable' });
  await uploads.close(writer);
  await writer.truncate(0);
  registry.clearFaults();
  for (const [from, to] of [
    [0, 30_000],
    [30_000, 70_000],
  ] as const) {
    await new Promise((wake) => setTimeout(wake, 50));
    await writer.write(bytes.subarray(from, to), from);
  }
  await writer.commit();
  assert.ok(isStored(bytes));
  assert.equal(registry.content.repositories.get('group/app')?.blobs.size, 1);
});

test('what the repository has is not sent, what another one has is mounted', { timeout }, async (t) => {
  const { store, place, registry, directory } = await setUp(t);
  const bytes = bytesOf(50_000);
  registry.putBlob('other', bytes);
  const uploads = new Uploads({ cacheDirectory: directory, seenIn: () => ['other'] });
  const write = async () => {
    const writer = await uploads.start({ ...place, store });
    await writer.write(bytes, 0);
    const { kind } = await writer.commit();
    await uploads.close(writer);
    return kind;
  };
  assert.equal(await write(), 'mounted');
  assert.equal(await write(), 'present');
  assert.equal(registry.requestsTo({ method: 'PUT' }).length, 0);
});

test(
  'random, sparse and overlapping writes and truncation give the same blob as in memory',
  { timeout },
  async (t) => {
    const { uploads, place, isStored } = await setUp(t, {}, { chunkBytes: mib });
    for (let seed = 1; seed <= 4; seed += 1) {
      const random = createPrng(seed);
      const writer = await uploads.start(place);
      let model = Buffer.alloc(0);
      for (let step = 0; step < 60; step += 1) {
        if (random.integer(10) === 0) {
          const size = random.integer(model.length + 5000);
          await writer.truncate(size);
          model = Buffer.concat([model.subarray(0, size), Buffer.alloc(Math.max(0, size - model.length))]);
          continue;
        }
        const position = random.integer(3) === 0 ? random.integer(3 * mib) : model.length;
        const data = bytesOf(1 + random.integer(400_000), step);
        if (position + data.length > model.length)
          model = Buffer.concat([model, Buffer.alloc(position + data.length - model.length)]);
        data.copy(model, position);
        await writer.write(data, position);
        if (step === 30) await writer.commit();
      }
      const read = Buffer.alloc(model.length);
      assert.equal(await writer.read(read, 0), model.length);
      assert.ok(read.equals(model));
      assert.equal((await writer.commit()).descriptor.digest, digestOf(model));
      assert.ok(isStored(model));
      await uploads.close(writer);
    }
  },
);

test('content that is not what its name says is refused, and never stored', { timeout }, async (t) => {
  const { uploads, place, isStored, registry } = await setUp(t);
  const bytes = bytesOf(9000);
  const writer = await uploads.start({ ...place, expected: digestOf(Buffer.from('else')) });
  await writer.write(bytes, 0);
  await assert.rejects(writer.commit(), { code: 'digest-mismatch' });
  assert.ok(!isStored(bytes));
  assert.match(writer.state.error ?? '', /digest-mismatch/);
  // Mended content is taken.
  await writer.truncate(0);
  await writer.write(Buffer.from('else'), 0);
  assert.equal((await writer.commit()).kind, 'sent');
  assert.equal(registry.uploads.size, 0);
});

test(
  'a registry that dies at each request in turn: the same commit, or the next, finishes',
  { timeout },
  async (t) => {
    const { uploads, place, isStored, registry } = await setUp(t, {}, { chunkBytes: mib, retries: 1 });
    const bytes = bytesOf(3 * mib, 3);
    for (let cut = 1; ; cut += 1) {
      registry.content.repositories.get('group/app')?.blobs.clear();
      registry.forgetRequests();
      for (const when of ['request', 'handled'] as const)
        registry.fault({ match: { role: 'registry', nth: cut, times: 1 }, fault: { kind: 'reset', when } });
      const writer = await uploads.start(place);
      for (let at = 0; at < bytes.length; at += mib) await writer.write(bytes.subarray(at, at + mib), at);
      await writer.commit().catch(() => writer.commit());
      assert.ok(isStored(bytes), `cut at request ${cut}`);
      const requests = registry.requests.length;
      registry.clearFaults();
      await uploads.close(writer);
      if (cut > requests) break;
    }
  },
);

test(
  'another process goes on where the first one died, with less than one chunk sent again',
  { timeout },
  async (t) => {
    const { uploads, place, registry, directory, store, isStored } = await setUp(
      t,
      {},
      { chunkBytes: mib / 4 },
    );
    const bytes = bytesOf(8 * mib, 5);
    const writer = await uploads.start(place);
    for (let at = 0; at < bytes.length; at += mib) await writer.write(bytes.subarray(at, at + mib), at);
    registry.fault({
      match: { method: 'PATCH', nth: 20, times: 1000 },
      fault: { kind: 'status', status: 503 },
    });
    await assert.rejects(writer.commit(), { code: 'unavailable' });
    const before = registry.bytesSent();
    assert.ok(before >= 0);
    // As after a crash: the spool stays, nobody owns it.
    await writer.close();
    registry.clearFaults();
    registry.forgetRequests();
    const next = new Uploads({ cacheDirectory: directory });
    const [left] = await next.spool.list();
    assert.equal(left?.state.phase, 'failed');
    assert.match(left?.state.error ?? '', /503/);
    assert.equal(await next.recover(async () => store), 1);
    assert.ok(isStored(bytes));
    const sentAgain = registry.requestsTo({ method: 'PATCH' }).length;
    assert.ok(sentAgain <= 14, `${sentAgain} chunks of 256 KiB for the rest of 32`);
    assert.deepEqual(await next.spool.list(), []);
  },
);

test(
  'an upload has one owner, and one whose content is not whole is kept and not sent',
  { timeout },
  async (t) => {
    const { uploads, place, store, directory } = await setUp(t);
    const writer = await uploads.start(place);
    await writer.write(Buffer.from('half'), 0);
    const other = new Uploads({ cacheDirectory: directory });
    assert.equal((await other.spool.list())[0]?.owned, true);
    assert.equal(await other.adopt(writer.state.id, store), undefined);
    await writer.close();
    assert.equal(await other.recover(async () => store), 0);
    assert.equal(other.active().length, 1);
    const [adopted] = other.active();
    assert.ok(adopted);
    assert.equal(adopted.size, 4);
    await other.cancel(adopted);
    assert.deepEqual(await readdir(join(directory, 'uploads')), []);
  },
);

test('a damaged state is passed over, and a foreign id is not found', { timeout }, async (t) => {
  const { uploads, place, directory } = await setUp(t);
  const writer = await uploads.start(place);
  await writeFile(join(directory, 'uploads', writer.state.id, 'state.json'), '{"version":1}');
  assert.deepEqual(await uploads.spool.list(), []);
  await assert.rejects(uploads.spool.adopt('../../etc'), { code: 'not-found' });
});
