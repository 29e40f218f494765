/** Files of the Singularity image format, for tests to read. */
export interface SifPart {
  readonly type: number;
  readonly content: Uint8Array;
  /** What the extra field begins with. */
  readonly extra?: Uint8Array;
}

const headerBytes = 128;
const descriptorBytes = 585;

/** A squashfs partition as the primary system. */
export const primarySquashfs = Buffer.from([1, 0, 0, 0, 2, 0, 0, 0]);

export function buildSif(parts: readonly SifPart[]): Buffer {
  const dataStart = 4096 * Math.ceil((headerBytes + parts.length * descriptorBytes) / 4096);
  const header = Buffer.alloc(dataStart);
  header.write('#!/usr/bin/env run-singularity\n', 0);
  header.write('SIF_MAGIC\0', 32);
  header.write('01\0', 42);
  header.writeBigInt64LE(0n, 80);
  header.writeBigInt64LE(BigInt(parts.length), 88);
  header.writeBigInt64LE(BigInt(headerBytes), 96);
  let offset = dataStart;
  for (const [index, { type, content, extra }] of parts.entries()) {
    const at = headerBytes + index * descriptorBytes;
    header.writeInt32LE(type, at);
    header[at + 4] = 1;
    header.writeUInt32LE(index + 1, at + 5);
    header.writeBigInt64LE(BigInt(offset), at + 17);
    header.writeBigInt64LE(BigInt(content.length), at + 25);
    header.set(extra ?? [], at + 201);
    offset += content.length;
  }
  return Buffer.concat([header, ...parts.map(({ content }) => content)]);
}
