/**
 * Compressed archives unpacked by the addon's decoder, which writes what it decodes to a descriptor on a thread of its own
 * and says where decoding can start again; zstd by Node where it can (22.15 and later) and there is no addon.
 */
import type { FileHandle } from 'node:fs/promises';
import type { Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import { loadAddon } from '../../addon/load-addon.js';
import { ImgfsError } from '../../errors/imgfs-error.js';

interface Step {
  readonly consumed: number;
  readonly outTotal: number;
  readonly error: string;
  readonly errorIsTar: boolean;
  readonly decodedLost: boolean;
  readonly spans: Uint8Array<ArrayBuffer>;
  readonly windows: Uint8Array<ArrayBuffer>;
}

/** The part of the addon's indexer (native/src/layer-index-calls.cc) that decodes. */
interface UnpackAddon {
  createIndexer(format: number, algorithm: number, spanBytes: number): object;
  keepDecoded(handle: object, fd: number): void;
  stepIndexer(
    handle: object,
    input: Uint8Array,
    outBudget: number,
    entryBudget: number,
    finish: number,
  ): Promise<Step>;
  hasZstd(): boolean;
}

/** A decoding stream of Node; undefined where it has none. */
export function nodeZstd(): Transform | undefined {
  return (zlib as unknown as { createZstdDecompress?: () => Transform }).createZstdDecompress?.();
}

function unpackAddon(): UnpackAddon | undefined {
  const layer = loadAddon().addon?.layer as Partial<UnpackAddon> | undefined;
  return typeof layer?.stepIndexer === 'function' ? (layer as UnpackAddon) : undefined;
}

/** True when this machine can unpack zstd without Node's help. */
export function canUnpackZstd(): boolean {
  return unpackAddon()?.hasZstd() === true;
}

/** True when the addon can unpack it, and say where reading can start again. */
export function canUnpackByAddon(format: UnpackFormat): boolean {
  return format === 'gzip' ? unpackAddon() !== undefined : canUnpackZstd();
}

/** What the addon unpacks. */
export type UnpackFormat = 'gzip' | 'zstd';

/** Numbers of `Format` in native/src/decoder.h. */
export const formatNumbers: Readonly<Record<UnpackFormat, number>> = { gzip: 1, zstd: 2 };

/**
 * Decoded bytes between two places where reading can start: 10 ms to decode one, and 0.2 % of the archive for their windows
 * at most.
 */
const spanBytes = 4 * 1024 * 1024;
const outBudget = 8 * 1024 * 1024;
const entryBudget = 2048;

export interface UnpackLimits {
  /** For messages. */
  readonly path: string;
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

/** Where decoding can start: records of 80 bytes (src/layer/index/span-table.ts), and their windows one behind the other. */
export interface UnpackedSpans {
  readonly spans: Uint8Array;
  readonly windows: Uint8Array;
}

/** The bytes are compressed as they should be, but what is in them is no tar that the addon can read. */
export class NotReadableTar extends Error {}

/**
 * Unpack a compressed tar into `target`; gives where decoding can start again.
 * @throws ImgfsError `invalid-content` for a damaged one, `too-large`, `cache-full` when it cannot be written;
 *   {@link NotReadableTar}.
 */
export async function unpackByAddon(
  format: UnpackFormat,
  chunks: AsyncIterable<Uint8Array>,
  target: FileHandle,
  { path, maxBytes, signal }: UnpackLimits,
): Promise<UnpackedSpans> {
  const addon = unpackAddon();
  if (addon === undefined) throw new ImgfsError('internal', `unpack ${format}: no decoder`);
  // 0: no digest.
  const indexer = addon.createIndexer(formatNumbers[format], 0, spanBytes);
  addon.keepDecoded(indexer, target.fd);
  const [spans, windows]: [Uint8Array[], Uint8Array[]] = [[], []];
  const step = async (input: Uint8Array, isLast: boolean): Promise<Step> => {
    if (signal?.aborted === true) throw new ImgfsError('interrupted', `unpack archive ${path}: given up`);
    const done = await addon.stepIndexer(indexer, input, outBudget, entryBudget, isLast ? 1 : 0);
    checkStep(done, path, maxBytes);
    spans.push(done.spans);
    windows.push(done.windows);
    return done;
  };
  // One chunk is held back: the last one has to be named as such.
  let held: Uint8Array = new Uint8Array(0);
  for await (const chunk of chunks) {
    for (let at = 0; at < held.length;) at += (await step(held.subarray(at), false)).consumed;
    held = chunk;
  }
  for (let at = 0; ;) {
    at += (await step(held.subarray(at), true)).consumed;
    if (at >= held.length) return { spans: Buffer.concat(spans), windows: Buffer.concat(windows) };
  }
}

function checkStep(done: Step, path: string, maxBytes: number): void {
  if (done.error !== '' && done.errorIsTar) throw new NotReadableTar(done.error);
  if (done.error !== '') {
    throw new ImgfsError('invalid-content', `unpack archive ${path}: damaged or cut short: ${done.error}`, {
      path,
      hint: 'the archive is incomplete: copy or save it again',
    });
  }
  if (done.decodedLost) {
    throw new ImgfsError('cache-full', `unpack archive ${path}: the spool file cannot be written`, {
      path,
      hint: 'make room on the disk of the spool directory',
    });
  }
  if (done.outTotal > maxBytes) {
    throw new ImgfsError('too-large', `unpack archive ${path}: more than ${maxBytes} bytes`, { path });
  }
}
