/**
 * Decodes chunks of eStargz and zstd:chunked: pieces of files that lie in gzip members or zstd frames of their own, or
 * some way into one, and are known by the digest of what they decode to.
 */
import { spanChecks, type Span } from '../index/span-table.js';
import { layerAddon, layerFormats, spanResults, type LayerFormat } from '../native/layer-addon.js';
import { freshStream } from './decoding-stream.js';
import { blobMismatch, isRightOutput, type SpanBytes, type SpanReader } from './span-bytes.js';

/** Input for Node's zlib at a time: deflate makes 66 MB of it at most. */
const feedBytes = 64 * 1024;

export class ChunkReader implements SpanReader {
  private readonly format: LayerFormat;

  constructor(format: LayerFormat) {
    this.format = format;
  }

  /** Each chunk stands alone: a mismatch says that the blob's bytes or the index are wrong, not which of them. */
  async next({ span, input }: SpanBytes, output: Uint8Array): Promise<void> {
    const whole = span.skip === 0 ? output : new Uint8Array(span.skip + output.length);
    if (!(await this.decode(span, input, whole))) throw blobMismatch(span);
    if (whole !== output) output.set(whole.subarray(span.skip));
  }

  close(): void {
    // Each chunk has a decoder of its own.
  }

  /** Fill `whole`; false when the bytes do not decode to so much, or to something else. */
  private async decode(span: Span, input: Uint8Array, whole: Uint8Array): Promise<boolean> {
    const addon = layerAddon();
    if (addon === undefined || (this.format === 'zstd' && !addon.hasZstd()))
      return this.decodeInNode(span, input, whole);
    const handle = addon.openSpans(layerFormats.indexOf(this.format), 0, 0, new Uint8Array(0), 0);
    const check = spanChecks.indexOf('output');
    try {
      const result = await addon.nextSpan(handle, input, whole, span.sha256, span.skip, check);
      return spanResults[result] === 'ok';
    } finally {
      addon.closeSpans(handle);
    }
  }

  private async decodeInNode(span: Span, input: Uint8Array, whole: Uint8Array): Promise<boolean> {
    const stream = freshStream(this.format === 'zstd' ? 'zstd' : 'gzip');
    try {
      let filled = 0;
      for (let at = 0; at < input.length && filled < whole.length && !stream.ended; at += feedBytes) {
        // What follows the chunk is part of something else: an error there is none of ours.
        await stream.feed(input.subarray(at, at + feedBytes)).catch(() => undefined);
        for (const part of stream.take()) {
          const used = part.subarray(0, whole.length - filled);
          whole.set(used, filled);
          filled += used.length;
        }
      }
      return filled === whole.length && (await isRightOutput(span, whole.subarray(span.skip)));
    } finally {
      stream.close();
    }
  }
}
