/** Reads spans with Node's own zlib: slower than the addon, and everywhere. */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Span } from '../index/span-table.js';
import type { LayerFormat } from '../native/layer-addon.js';
import { bitPrefix } from './bit-prefix.js';
import { freshStream, rawStream, type DecodingStream } from './decoding-stream.js';
import { blobMismatch, indexMismatch, type SpanBytes, type SpanReader } from './span-bytes.js';

/** CRC-32 and length behind each gzip member. */
const trailerBytes = 8;

export class NodeSpanReader implements SpanReader {
  private readonly format: LayerFormat;
  private readonly start: Span;
  private readonly dictionary: Uint8Array | undefined;
  private stream: DecodingStream | undefined;
  /** Entered between two blocks: the member's checksum cannot be checked, and the next member needs a new stream. */
  private isRaw: boolean;
  /** Bytes of a trailer that are still to come. */
  private toSkip = 0;
  private left: Buffer[] = [];
  private leftLength = 0;

  constructor(format: LayerFormat, start: Span, dictionary: Uint8Array | undefined) {
    this.format = format;
    this.start = start;
    this.dictionary = dictionary;
    this.isRaw = start.kind === 'block';
  }

  async next({ span, input }: SpanBytes, output: Uint8Array): Promise<void> {
    if (!createHash('sha256').update(input).digest().equals(span.sha256)) throw blobMismatch(span);
    if (this.format === 'plain') output.set(input);
    else await this.decode(span, input, output);
    if (span.check === 'both' && crc32(output) !== span.crc) throw indexMismatch(span);
  }

  close(): void {
    this.stream?.close();
    this.stream = undefined;
  }

  private async decode(span: Span, input: Uint8Array, output: Uint8Array): Promise<void> {
    try {
      await this.feed(this.prepare(input));
    } catch (error) {
      if (error instanceof Error && 'code' in error && String(error.code).startsWith('Z_'))
        throw indexMismatch(span);
      throw error;
    }
    if (this.leftLength < output.length) throw indexMismatch(span);
    let at = 0;
    while (at < output.length) {
      const part = this.left.shift() ?? Buffer.alloc(0);
      const used = part.subarray(0, output.length - at);
      output.set(used, at);
      at += used.length;
      if (used.length < part.length) this.left.unshift(part.subarray(used.length));
    }
    this.leftLength -= output.length;
  }

  /** The first input of a span that begins inside a byte gets whole bytes. */
  private prepare(input: Uint8Array): Uint8Array {
    if (this.stream !== undefined) return input;
    if (!this.isRaw) {
      this.stream = freshStream(this.format === 'zstd' ? 'zstd' : 'gzip');
      return input;
    }
    this.stream = rawStream(this.dictionary);
    if (this.start.bits === 0) return input;
    return Buffer.concat([bitPrefix(this.start.bits, input[0] ?? 0), input.subarray(1)]);
  }

  private async feed(input: Uint8Array): Promise<void> {
    const rest = input.subarray(Math.min(this.toSkip, input.length));
    this.toSkip -= input.length - rest.length;
    if (rest.length === 0) return;
    // Behind the member that was entered in its middle: another one.
    if (this.stream?.ended === true && this.isRaw) {
      this.isRaw = false;
      this.stream = freshStream('gzip');
    }
    const { stream } = this;
    if (stream === undefined) return;
    await stream.feed(rest);
    this.keep(stream);
    if (!stream.ended || !this.isRaw) return;
    this.toSkip = trailerBytes;
    await this.feed(rest.subarray(rest.length - stream.unused));
  }

  private keep(stream: DecodingStream): void {
    for (const part of stream.take()) {
      this.left.push(part);
      this.leftLength += part.length;
    }
  }
}
