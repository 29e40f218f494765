/** A layer of some megabytes with files of many sizes, packed in every way imgfs reads. */
import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
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

/** Ways to pack a layer. `many`: small members, as bgzf and eStargz have them. */
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
  zstd: (tar: Uint8Array): Uint8Array => zstd(tar),
  frames: (tar: Uint8Array): Uint8Array => Buffer.concat(third(tar).map(zstd)),
} as const;

export type Packing = keyof typeof packings;
