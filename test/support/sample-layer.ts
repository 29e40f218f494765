/** A layer of some megabytes with files of many sizes, packed in every way imgfs reads. */
import { execFileSync } from 'node:child_process';
import { constants, crc32, deflateRawSync, gzipSync } from 'node:zlib';
import { createPrng } from './prng.js';
import { rawEntry, rawTar } from './raw-tar.js';

export interface SampleFile {
  readonly path: string;
  readonly content: Buffer;
}

/** Text that compresses about as well as programs do: 3 to 1. */
function sampleText(seed: number, length: number): Buffer {
  const prng = createPrng(seed);
  const words = Array.from({ length: 600 }, () =>
    Buffer.from(prng.bytes(2 + prng.integer(8)))
      .toString('base64')
      .replaceAll('=', ''),
  );
  let text = '';
  while (text.length < length) text += `${prng.pick(words)} `;
  return Buffer.from(text.slice(0, length));
}

/** The same files for the same seed; 6 MiB together. */
export function sampleFiles(seed = 1): SampleFile[] {
  const prng = createPrng(seed);
  return Array.from({ length: 60 }, (_, index) => {
    const length = index % 7 === 0 ? 0 : prng.integer(index % 5 === 0 ? 700_000 : 20_000);
    return { path: `d${index % 6}/f${index}`, content: sampleText(seed * 1000 + index, length) };
  });
}

/** Their archive. */
export function sampleTar(files: readonly SampleFile[]): Buffer {
  return Buffer.from(rawTar(...files.map(({ path, content }) => rawEntry({ name: path }, content))));
}

const third = (tar: Uint8Array): Uint8Array[] => {
  const length = Math.ceil(tar.length / 3);
  return [0, 1, 2].map((index) => tar.subarray(index * length, (index + 1) * length));
};

const zstd = (bytes: Uint8Array): Buffer =>
  execFileSync('zstd', ['-q', '-c', '-1'], { input: bytes, maxBuffer: 1 << 28, timeout: 30_000 });

const pieces = (tar: Uint8Array, bytes: number): Uint8Array[] =>
  Array.from({ length: Math.ceil(tar.length / bytes) }, (_, index) =>
    tar.subarray(index * bytes, (index + 1) * bytes),
  );

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** One member of blocks made side by side: each of 128 KiB, with the 32 KiB before it as its dictionary (pigz.c). */
function pigz(tar: Uint8Array): Buffer {
  const blocks = pieces(tar, 128 << 10).map((block, index) => {
    const start = index * (128 << 10);
    const dictionary = tar.subarray(Math.max(0, start - 32_768), start);
    const isLast = start + block.length === tar.length;
    const finishFlush = isLast ? constants.Z_FINISH : constants.Z_SYNC_FLUSH;
    return deflateRawSync(block, { finishFlush, ...(dictionary.length === 0 ? {} : { dictionary }) });
  });
  const header = Buffer.from('1f8b0800000000000003', 'hex');
  return Buffer.concat([header, ...blocks, uint32(crc32(tar)), uint32(tar.length)]);
}

/** Members of 64 KiB at most that tell their length in an extra field, and an empty one at the end (SAM spec, 4.1). */
function bgzf(tar: Uint8Array): Buffer {
  const member = (part: Uint8Array): Buffer => {
    const data = deflateRawSync(part);
    const header = Buffer.from('1f8b08040000000000ff0600424302000000', 'hex');
    header.writeUInt16LE(header.length + data.length + 8 - 1, 16);
    return Buffer.concat([header, data, uint32(crc32(part)), uint32(part.length)]);
  };
  return Buffer.concat([...pieces(tar, 60_000).map(member), member(new Uint8Array(0))]);
}

/** Ways to pack a layer. `many`: small members, as eStargz has them. */
export const packings = {
  plain: (tar: Uint8Array): Uint8Array => tar,
  gzip: (tar: Uint8Array): Uint8Array => gzipSync(tar, { level: 6 }),
  stored: (tar: Uint8Array): Uint8Array => gzipSync(tar, { level: 0 }),
  members: (tar: Uint8Array): Uint8Array => Buffer.concat(third(tar).map((part) => gzipSync(part))),
  many: (tar: Uint8Array): Uint8Array =>
    Buffer.concat(
      Array.from({ length: Math.ceil(tar.length / 65_280) }, (_, index) =>
        gzipSync(tar.subarray(index * 65_280, (index + 1) * 65_280), { level: 1 }),
      ),
    ),
  pigz: (tar: Uint8Array): Uint8Array => pigz(tar),
  bgzf: (tar: Uint8Array): Uint8Array => bgzf(tar),
  zstd: (tar: Uint8Array): Uint8Array => zstd(tar),
  frames: (tar: Uint8Array): Uint8Array => Buffer.concat(third(tar).map(zstd)),
} as const;

export type Packing = keyof typeof packings;
