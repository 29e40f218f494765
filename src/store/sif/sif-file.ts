/**
 * The Singularity image format (github.com/sylabs/sif, pkg/sif): a header of 128 bytes and descriptors of 585 bytes,
 * little-endian and without gaps, for data objects somewhere in the file. Nothing of it is believed before it was
 * checked against the size of the file.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import { readExactly } from '../archive/archive-contents.js';
import type { OpenedFile } from '../safe-open.js';

const headerBytes = 128;
const descriptorBytes = 585;

/** The program that writes them makes 48; a bound for what is read at once. */
const maxDescriptors = 10_000;

export const sifTypes = {
  definition: 0x4001,
  environment: 0x4002,
  labels: 0x4003,
  partition: 0x4004,
  signature: 0x4005,
  json: 0x4006,
  generic: 0x4007,
  cryptMessage: 0x4008,
  sbom: 0x4009,
  ociRootIndex: 0x400a,
  ociBlob: 0x400b,
} as const;

export interface SifObject {
  readonly type: number;
  readonly id: number;
  readonly offset: number;
  readonly size: number;
  readonly name: string;
  /** Of a partition: 1 squashfs, 2 ext3, 3 archive, 4 raw, 5 encrypted squashfs. */
  readonly fileSystem: number;
  /** Of a partition: 2 is the primary system. */
  readonly role: number;
  /** Of an OCI blob. */
  readonly digest: Digest | undefined;
}

function refuse(path: string, why: string): never {
  throw new ImgfsError('invalid-content', `open sif ${path}: ${why}`, { path });
}

function text(bytes: Buffer): string {
  const nul = bytes.indexOf(0);
  return bytes.toString('utf8', 0, nul < 0 ? bytes.length : nul);
}

/** A position or length; `undefined` when it is none. */
function count(bytes: Buffer, at: number): number | undefined {
  const value = bytes.readBigInt64LE(at);
  return value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined;
}

/** The data objects of a file, in its order. @throws ImgfsError `invalid-content`, `unsupported`. */
export async function readSif({ handle, size }: OpenedFile, path: string): Promise<readonly SifObject[]> {
  const file = { path, handle };
  if (size < headerBytes) refuse(path, 'too short to be one');
  const header = Buffer.alloc(headerBytes);
  await readExactly(file, header, 0, headerBytes);
  if (header.toString('latin1', 32, 41) !== 'SIF_MAGIC') refuse(path, 'it does not begin as one');
  const version = text(header.subarray(42, 45));
  if (version !== '01')
    throw new ImgfsError('unsupported', `open sif ${path}: version ${JSON.stringify(version)}`);
  const total = count(header, 88) ?? -1;
  const offset = count(header, 96) ?? -1;
  if (
    total < 0 ||
    total > maxDescriptors ||
    offset < headerBytes ||
    offset + total * descriptorBytes > size
  ) {
    refuse(path, 'its table of contents is outside the file');
  }
  const table = Buffer.alloc(total * descriptorBytes);
  await readExactly(file, table, offset, table.length);
  return Array.from({ length: total }, (_, at) => at * descriptorBytes)
    .filter((at) => table[at + 4] !== 0)
    .map((at) => parseObject(table.subarray(at, at + descriptorBytes), size, path));
}

function parseObject(bytes: Buffer, fileSize: number, path: string): SifObject {
  const [id, offset, size] = [bytes.readUInt32LE(5), count(bytes, 17), count(bytes, 25)];
  if (offset === undefined || size === undefined || offset + size > fileSize) {
    refuse(path, `data object ${id} ends behind the file: it is cut short`);
  }
  const extra = bytes.subarray(201);
  const digest = text(extra);
  return {
    type: bytes.readInt32LE(0),
    id,
    offset,
    size,
    name: text(bytes.subarray(73, 201)),
    fileSystem: extra.readInt32LE(0),
    role: extra.readInt32LE(4),
    digest: isDigest(digest) ? digest : undefined,
  };
}
