import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, open, readFile, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { MemberTable } from '../../../../src/store/archive/member-table.js';
import { scanTar, type TarMember } from '../../../../src/store/archive/scan-tar.js';
import { headerWalker } from '../../../../src/store/archive/walk-headers.js';
import { skipWithout } from '../../../support/child.js';
import { buildTar } from '../../../support/tar-builder.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 20_000 };

interface Scan {
  readonly members: readonly TarMember[];
  readonly bytesRead: number;
}

/** By reads of single headers, and by the addon's walk over a file: both must say the same. */
async function scan(tar: Uint8Array): Promise<Scan> {
  const one = await outcome(scanBytes(tar));
  const other = await outcome(walkFile(tar));
  if (other !== undefined) assert.deepEqual(other.said, one?.said);
  if (one?.error !== undefined) throw one.error;
  return one?.scan ?? { members: [], bytesRead: 0 };
}

interface Outcome {
  readonly scan?: Scan;
  readonly error?: Error;
  readonly said: unknown;
}

async function outcome(scanned: Promise<Scan | undefined>): Promise<Outcome | undefined> {
  try {
    const done = await scanned;
    if (done === undefined) return undefined;
    return { scan: done, said: done.members.map((member) => ({ ...member, head: undefined })) };
  } catch (error) {
    assert.ok(error instanceof Error);
    return { error, said: error.message };
  }
}

let walked = 0;

/** Undefined without the addon. */
async function walkFile(tar: Uint8Array): Promise<Scan | undefined> {
  const path = join(tmpdir(), `imgfs-walk-${process.pid}-${(walked += 1)}.tar`);
  await writeFile(path, tar);
  const handle = await open(path);
  try {
    await unlink(path);
    const walker = headerWalker(handle.fd, 'test.tar');
    if (walker === undefined) return undefined;
    const read = async (buffer: Buffer, position: number): Promise<number> =>
      (await handle.read(buffer, 0, buffer.length, position)).bytesRead;
    return { members: await scanTar(read, { path: 'test.tar', size: tar.length, walker }), bytesRead: 0 };
  } finally {
    await handle.close();
  }
}

async function scanBytes(tar: Uint8Array): Promise<Scan> {
  const source = Buffer.from(tar);
  let bytesRead = 0;
  const members = await scanTar(
    async (buffer, position) => {
      const copied = source.copy(buffer, 0, position);
      bytesRead += copied;
      return copied;
    },
    { path: 'test.tar', size: source.length },
  );
  return { members, bytesRead };
}

async function refuses(tar: Uint8Array, says: RegExp): Promise<void> {
  await assert.rejects(scan(tar), (error) => {
    assert.ok(isImgfsError(error, 'invalid-content'), String(error));
    assert.match(error.message, says);
    return true;
  });
}

interface HeaderParts {
  readonly name?: string;
  readonly size?: Buffer | number;
  readonly flag?: string;
  readonly linkname?: string;
  readonly content?: Buffer;
}

/** One member with a right checksum, whatever else is wrong with it. */
function member({
  name = 'a',
  size,
  flag = '0',
  linkname = '',
  content = Buffer.alloc(0),
}: HeaderParts): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0, 'latin1');
  const length = size ?? content.length;
  if (typeof length === 'number') block.write(`${length.toString(8).padStart(11, '0')}\0`, 124);
  else length.copy(block, 124);
  block.write(flag, 156, 'latin1');
  block.write(linkname, 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([block, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

function pax(records: Readonly<Record<string, string>>, flag = 'x'): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const body = ` ${key}=${value}\n`;
    let length = body.length + 1;
    while (`${length}${body}`.length !== length) length = `${length}${body}`.length;
    return `${length}${body}`;
  });
  return member({ name: 'pax', flag, content: Buffer.from(lines.join('')) });
}

const end = Buffer.alloc(1024);

describe('scanTar', limits, () => {
  it('finds members without reading their contents', async () => {
    const big = Buffer.alloc(3_000_000, 7);
    const long = `${'d'.repeat(90)}/${'f'.repeat(120)}`;
    const tar = await buildTar([
      { name: './a/', mode: 0o755 },
      { name: './a/big', content: big },
      { name: long, content: 'long' },
      { name: 'link', linkname: 'a/big' },
      { name: 'hard', type: 'link', linkname: 'a/big' },
      { name: 'ünï', content: 'x' },
      { name: 'pipe', type: 'fifo' },
    ]);
    const { members, bytesRead } = await scan(tar);
    assert.deepEqual(
      members.map(({ name, type, size }) => [name, type, size]),
      [
        ['a', 'other', 0],
        ['a/big', 'file', big.length],
        [long, 'file', 4],
        ['link', 'symlink', 0],
        ['hard', 'link', 0],
        ['ünï', 'file', 1],
        ['pipe', 'other', 0],
      ],
    );
    assert.ok(bytesRead < 20_000, `${bytesRead} bytes`);
    for (const { name, offset, size } of members.filter(({ type }) => type === 'file')) {
      const content = Buffer.from(tar).subarray(offset, offset + size);
      assert.equal(content.length, size, name);
      if (size === 4) assert.equal(content.toString(), 'long');
    }
  });

  it('agrees with GNU tar in both of its formats', { skip: skipWithout('tar') }, async (t) => {
    const directory = await tempDir(t, 'tar');
    const deep = join('x'.repeat(60), 'y'.repeat(60), 'z'.repeat(60));
    await mkdir(join(directory, 'in', deep), { recursive: true });
    await writeFile(join(directory, 'in', deep, 'file'), 'deep');
    await symlink('t'.repeat(150), join(directory, 'in', 'far'));
    for (const format of ['gnu', 'pax'] as const) {
      const path = join(directory, `${format}.tar`);
      execFileSync('tar', [`--format=${format}`, '-C', join(directory, 'in'), '-cf', path, '.']);
      const { members } = await scan(await readFile(path));
      const file = members.find(({ type }) => type === 'file');
      assert.deepEqual([file?.name, file?.size], [`${deep}/file`, 4]);
      assert.equal(members.find(({ type }) => type === 'symlink')?.linkname, 't'.repeat(150));
    }
  });

  it('takes archives that end without blocks of zeros, as umoci writes them', async () => {
    const { members } = await scan(member({ content: Buffer.from('x') }));
    assert.equal(members.length, 1);
    const unpadded = member({ content: Buffer.from('x') }).subarray(0, 513);
    assert.equal((await scan(unpadded)).members[0]?.size, 1);
    assert.deepEqual((await scan(end)).members, []);
  });

  it('takes sizes in base 256 and in pax records', async () => {
    const binary = Buffer.alloc(12);
    binary[0] = 0x80;
    binary[11] = 3;
    const content = Buffer.from('abc');
    assert.equal((await scan(member({ size: binary, content }))).members[0]?.size, 3);
    const both = Buffer.concat([
      pax({ size: '3', path: 'p' }),
      member({ size: 0, content }),
      member({ name: 'next' }),
    ]);
    assert.deepEqual(
      (await scan(both)).members.map(({ name, size }) => [name, size]),
      [
        ['p', 3],
        ['next', 0],
      ],
    );
  });

  it('refuses what is cut short, saying so', async () => {
    const tar = Buffer.from(
      await buildTar([
        { name: 'a', content: Buffer.alloc(2000) },
        { name: 'b', content: 'b' },
      ]),
    );
    await refuses(tar.subarray(0, 1000), /cut short: a ends at byte 2512, the file at 1000/);
    await refuses(tar.subarray(0, 2600), /cut short at byte 2600/);
    await refuses(pax({ path: 'x' }), /cut short/);
    await refuses(Buffer.alloc(0), /empty/);
  });

  it('refuses what two readers could read as two archives', async () => {
    const content = Buffer.from('abc');
    const huge = Buffer.alloc(12, 0xff);
    huge[0] = 0x80;
    await refuses(Buffer.from('not a tar archive'.repeat(100)), /checksum/);
    await refuses(member({ size: huge }), /malformed number/);
    await refuses(member({ size: Buffer.alloc(12, 0xff) }), /negative or too large/);
    await refuses(member({ size: Buffer.from('12x45678901\0') }), /malformed number/);
    await refuses(Buffer.concat([pax({ size: '0' }), member({ content })]), /two sizes/);
    await refuses(Buffer.concat([pax({ size: '-1' }), member({ content })]), /no number/);
    await refuses(Buffer.concat([pax({ path: 'x' }, 'g'), member({ content })]), /global/);
    await refuses(Buffer.concat([pax({ path: 'x' }), end]), /without a member/);
    await refuses(member({ flag: '2', linkname: 'x', content }), /with content/);
    await refuses(member({ flag: 'S', content }), /sparse/);
    await refuses(Buffer.concat([Buffer.alloc(512), member({ content })]), /behind the end/);
    for (const record of ['5 a\n', '99 a=b\n', '6 a=bc', 'x a=b\n', '0 a=b\n', '6 abc\n']) {
      await refuses(
        Buffer.concat([member({ flag: 'x', content: Buffer.from(record) }), member({ content })]),
        /pax/,
      );
    }
    const bomb = member({ flag: 'L', size: 2_000_000, content: Buffer.alloc(2_000_000, 'a') });
    await refuses(Buffer.concat([bomb, member({ content })]), /extension header of 2000000/);
  });

  it('never throws anything but an ImgfsError', async () => {
    const tar = Buffer.from(
      await buildTar([
        { name: 'a'.repeat(150), content: 'x'.repeat(600) },
        { name: 'b', linkname: 'c' },
      ]),
    );
    const flips = fc.array(fc.tuple(fc.nat(tar.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(flips, fc.nat(tar.length), async (changes, length) => {
        const damaged = Buffer.from(tar.subarray(0, length));
        for (const [at, value] of changes) if (at < length) damaged[at] = value;
        try {
          await scan(damaged);
        } catch (error) {
          assert.ok(isImgfsError(error), String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('MemberTable', limits, () => {
  const table = async (...entries: Parameters<typeof buildTar>[0]): Promise<MemberTable> =>
    new MemberTable('test.tar', (await scan(await buildTar(entries))).members);

  it('follows links inside the archive', async () => {
    const members = await table(
      { name: 'x/layer.tar', linkname: '../y.tar' },
      { name: 'z/layer.tar', type: 'link', linkname: 'x/layer.tar' },
      { name: 'y.tar', content: 'content' },
    );
    for (const name of ['y.tar', 'x/layer.tar', './x//layer.tar', 'z/layer.tar']) {
      assert.equal(members.find(name)?.size, 7, name);
    }
    assert.equal(members.find('nothing'), undefined);
  });

  it('refuses links that lead nowhere, and names that mean two things', async () => {
    const members = await table(
      { name: 'out', linkname: '../../etc/passwd' },
      { name: 'root', linkname: '/etc/passwd' },
      { name: 'loop', linkname: 'loop' },
      { name: 'dir/' },
      { name: 'twice', content: 'a' },
      { name: 'twice', content: 'b' },
      { name: 'blobs/sha256/aa', content: 'a' },
      { name: 'blobs/sha256/aa', content: 'a' },
      { name: 'blobs/sha256/bb', content: 'a' },
      { name: 'blobs/sha256/bb', content: 'ab' },
    );
    for (const [name, says] of [
      ['out', /not in the archive/],
      ['root', /not in the archive/],
      ['loop', /too many links/],
      ['dir', /not a file/],
      ['twice', /more than once/],
      ['blobs/sha256/bb', /more than once/],
    ] as const) {
      assert.throws(
        () => members.find(name),
        (error) => isImgfsError(error, 'invalid-content') && says.test(error.message),
        name,
      );
    }
    assert.equal(members.find('blobs/sha256/aa')?.size, 1);
    assert.throws(() => members.mustFind('absent'), /missing/);
  });
});
