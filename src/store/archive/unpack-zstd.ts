/**
 * zstd archives unpacked: by Node where it can (22.15 and later), else by the addon's decoder, which writes what it
 * decodes to a descriptor on a thread of its own.
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
  readonly decodedLost: boolean;
}

/** The part of the addon's indexer (native/src/layer-module.cc) that decodes. */
interface ZstdAddon {
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

function zstdAddon(): ZstdAddon | undefined {
  const layer = loadAddon().addon?.layer as Partial<ZstdAddon> | undefined;
  return layer?.hasZstd?.() === true ? (layer as ZstdAddon) : undefined;
}

/** True when this machine can unpack zstd without Node's help. */
export function canUnpackZstd(): boolean {
  return zstdAddon() !== undefined;
}

/** Spans are not wanted: as long as the addon takes. */
const spanBytes = 64 * 1024 * 1024;
const outBudget = 8 * 1024 * 1024;
const entryBudget = 2048;

export interface UnpackLimits {
  /** For messages. */
  readonly path: string;
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

/**
 * Unpack a stream of zstd frames that hold a tar into `target`; gives its length.
 * @throws ImgfsError `invalid-content` for a damaged one, `too-large`, `cache-full` when it cannot be written.
 */
export async function unpackZstd(
  chunks: AsyncIterable<Uint8Array>,
  target: FileHandle,
  { path, maxBytes, signal }: UnpackLimits,
): Promise<number> {
  const addon = zstdAddon();
  if (addon === undefined) throw new ImgfsError('internal', 'unpack zstd: no decoder');
  // 2: zstd; 0: no digest.
  const indexer = addon.createIndexer(2, 0, spanBytes);
  addon.keepDecoded(indexer, target.fd);
  const step = async (input: Uint8Array, isLast: boolean): Promise<Step> => {
    if (signal?.aborted === true) throw new ImgfsError('interrupted', `unpack archive ${path}: given up`);
    const done = await addon.stepIndexer(indexer, input, outBudget, entryBudget, isLast ? 1 : 0);
    if (done.error !== '') {
      throw new ImgfsError('invalid-content', `unpack archive ${path}: ${done.error}`, {
        path,
        hint: 'the archive is damaged or incomplete: copy or save it again',
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
    return done;
  };
  // One chunk is held back: the last one has to be named as such.
  let held: Uint8Array = new Uint8Array(0);
  for await (const chunk of chunks) {
    for (let at = 0; at < held.length;) at += (await step(held.subarray(at), false)).consumed;
    held = chunk;
  }
  for (let at = 0; ;) {
    const done = await step(held.subarray(at), true);
    at += done.consumed;
    if (at >= held.length) return done.outTotal;
  }
}
