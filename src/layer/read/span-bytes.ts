/** What decoding a span takes and gives, and how it goes wrong. */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Span } from '../index/span-table.js';

/** A span and the blob's bytes `[span.in, span.inEnd)`. */
export interface SpanBytes {
  readonly span: Span;
  readonly input: Uint8Array;
}

/** Descriptors of the blob and of its decoded archive, at their own offsets. */
export interface SpanFiles {
  readonly blob: number;
  readonly decoded: number;
}

/** How far it went: so many spans are written, and what stopped the next one. */
export interface SpansDone {
  readonly done: number;
  /** `ok`: nothing. `unread`: it can be read by `next`. `unwritten`: the disk took no more, and the reader is of no use. */
  readonly stopped: 'ok' | 'unread' | 'wrongIndex' | 'unwritten';
}

/** Reads the span it was made for, then those that follow it, in order. */
export interface SpanReader {
  /**
   * Decode into `output`, which has exactly the length of the span.
   * @throws ImgfsError `integrity` when the blob's bytes are not those that were indexed; `invalid-content` when the
   *   index does not fit the blob and must be made anew.
   */
  next(bytes: SpanBytes, output: Uint8Array): Promise<void>;
  /** The same for several spans, between files and without memory of ours; undefined where that cannot be done. */
  readonly betweenFiles?: (records: Uint8Array, files: SpanFiles) => Promise<SpansDone>;
  /** Give back what it holds; nothing is read after that. Not while it reads. */
  close(): void;
}

/** The index says something about its blob that is not so. */
export function indexMismatch(span: Span): ImgfsError {
  return new ImgfsError(
    'invalid-content',
    `read layer: span ${span.index} does not decode to what was indexed`,
    {
      hint: 'the index of this layer is damaged; it is made anew at the next use',
    },
  );
}

/** The blob is not the one that was indexed. */
export function blobMismatch(span: Span): ImgfsError {
  return new ImgfsError(
    'integrity',
    `read layer: bytes ${span.in} to ${span.inEnd} do not match their digest`,
    {
      hint: 'the store served other bytes than before, or the cached copy is damaged; it is fetched anew',
    },
  );
}

/** Longest piece that is hashed in one turn: 3 ms without the processor's SHA instructions. */
const hashBytes = 1 << 20;

/** True when `bytes` are the decoded bytes of the span. A span that says nothing about them can never be known. */
export async function isRightOutput(span: Span, bytes: Uint8Array): Promise<boolean> {
  if (span.check === 'both') return crc32(bytes) === span.crc;
  if (span.check === 'input') return false;
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += hashBytes) {
    if (at > 0) await nextTurn();
    hash.update(bytes.subarray(at, at + hashBytes));
  }
  return hash.digest().equals(span.sha256);
}
