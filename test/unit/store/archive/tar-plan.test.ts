import assert from 'node:assert/strict';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestOf } from '../../../../src/oci/digest.js';
import { clipRange, memoryBody } from '../../../../src/store/file-body.js';
import { scanTar } from '../../../../src/store/archive/scan-tar.js';
import { planTar, type MemberBlob, type TarPlan } from '../../../../src/store/archive/write/tar-plan.js';
import { verifiedTar, writeTarFile } from '../../../../src/store/archive/write/write-tar.js';
import { rejectsWith } from '../../../support/bodies.js';
import { mustRun, skipWithout } from '../../../support/child.js';
import { createPrng } from '../../../support/prng.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 30_000 };

function blobOf(bytes: Uint8Array, wholeBody = false): MemberBlob {
  return {
    digest: digestOf(bytes),
    size: bytes.length,
    open: async (range) => memoryBody(bytes, clipRange(wholeBody ? undefined : range, bytes.length)),
  };
}

async function all(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

const random = createPrng(7);
const contents = [0, 1, 511, 512, 513, 300_000].map((size) => random.bytes(size));
const longName = `blobs/sha512/${'a'.repeat(128)}`;

async function samplePlan(): Promise<TarPlan> {
  return planTar([
    { name: 'index.json', content: Buffer.from('{}') },
    { name: longName, content: Buffer.from('long') },
    ...contents.map((bytes, at) => ({ name: `blobs/sha256/${at}`, content: blobOf(bytes, at % 2 === 1) })),
  ]);
}

describe('a planned tar', limits, () => {
  it('is as long as it said, and its members are where tar looks for them', async () => {
    const plan = await samplePlan();
    const bytes = await all(plan.read());
    assert.equal(bytes.length, plan.size);
    const members = await scanTar(
      async (buffer, position) => bytes.copy(buffer, 0, position, position + buffer.length),
      { path: 'plan', size: bytes.length },
    );
    assert.deepEqual(
      members.map(({ name }) => name),
      ['index.json', longName, ...contents.map((_, at) => `blobs/sha256/${at}`)],
    );
    for (const [at, { offset, size }] of members.slice(2).entries()) {
      assert.deepEqual(bytes.subarray(offset, offset + size), Buffer.from(contents[at] ?? []));
    }
  });

  it('gives any range by itself, whatever more a server sends', async () => {
    const plan = await samplePlan();
    const bytes = await all(plan.read());
    const prng = createPrng(1);
    for (let round = 0; round < 200; round += 1) {
      const start = prng.integer(plan.size);
      const end = Math.min(plan.size, start + 1 + prng.integer(round % 2 === 0 ? 700 : 100_000));
      assert.deepEqual(
        await all(plan.read({ start, end })),
        bytes.subarray(start, end),
        `${start} to ${end}`,
      );
    }
    await rejectsWith(all(plan.read({ start: plan.size, end: plan.size + 1 })), 'invalid');
  });

  it('is what GNU tar unpacks', { skip: skipWithout('tar') }, async (t) => {
    const directory = await tempDir(t, 'plan');
    await writeTarFile(join(directory, 'a.tar'), await samplePlan());
    const { stderr } = await mustRun('tar', ['-C', directory, '-xvf', join(directory, 'a.tar')]);
    assert.equal(stderr, '');
    for (const [at, bytes] of contents.entries()) {
      assert.deepEqual(await readFile(join(directory, 'blobs/sha256', String(at))), Buffer.from(bytes));
    }
  });

  it('holds members of more than 8 GiB', async () => {
    const size = 9 * 1024 ** 3;
    const open = (): never => {
      throw new ImgfsError('internal', 'not to be read');
    };
    const plan = await planTar([
      { name: 'big', content: { digest: digestOf(Buffer.from('x')), size, open } },
    ]);
    assert.equal(plan.size, 512 + size + 1024);
    const head = await all(plan.read({ start: 0, end: 512 }));
    const [member] = await scanTar(
      async (buffer, position) => (position === 0 ? head.copy(buffer, 0) : buffer.fill(0).length),
      { path: 'plan', size: plan.size },
    );
    assert.equal(member?.size, size);
  });
});

describe('writing a planned tar', limits, () => {
  it('goes on where a body broke', async () => {
    const bytes = random.bytes(600_000);
    let opened = 0;
    const blob: MemberBlob = {
      ...blobOf(bytes),
      open: async (range) => {
        opened += 1;
        const body = memoryBody(bytes, range);
        return {
          ...body,
          chunks: (async function* broken() {
            yield bytes.subarray(range.start, range.start + 200_000);
            if (opened < 3) throw new ImgfsError('unavailable', 'broken');
            yield bytes.subarray(range.start + 200_000);
          })(),
        };
      },
    };
    const plan = await planTar([{ name: 'a', content: blob }]);
    assert.deepEqual(
      await all(verifiedTar(plan)),
      await all((await planTar([{ name: 'a', content: bytes }])).read()),
    );
    assert.equal(opened, 3);
  });

  it('never puts a wrong blob in place, and leaves the old file', async (t) => {
    const directory = await tempDir(t, 'plan');
    const path = join(directory, 'a.tar');
    await writeFile(path, 'old');
    const blob = { ...blobOf(random.bytes(1000)), digest: digestOf(Buffer.from('other')) };
    await rejectsWith(writeTarFile(path, await planTar([{ name: 'a', content: blob }])), 'integrity');
    assert.equal(await readFile(path, 'utf8'), 'old');
    assert.deepEqual(await readdir(directory), ['a.tar']);
  });

  it('stops when it is told to', async (t) => {
    const directory = await tempDir(t, 'plan');
    const signal = AbortSignal.abort();
    await rejectsWith(writeTarFile(join(directory, 'a.tar'), await samplePlan(), { signal }), 'interrupted');
    assert.deepEqual(await readdir(directory), []);
  });
});
