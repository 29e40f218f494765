/** Decodes spans: natively where the addon is there, with Node's own zlib otherwise. Both check what goes in and out. */
import { promisify } from 'node:util';
import { inflateRaw } from 'node:zlib';
import { gauge } from '../../observe/metrics.js';
import { spanChecks, startKinds, type Span } from '../index/span-table.js';
import {
  filesResults,
  layerAddon,
  layerFormats,
  spanResults,
  type LayerFormat,
  type SpansHandle,
} from '../native/layer-addon.js';
import type { LayerAddon } from '../native/layer-addon.js';
import { ChunkReader } from './chunk-reader.js';
import { NodeSpanReader } from './node-span-reader.js';
import {
  blobMismatch,
  indexMismatch,
  type SpanBytes,
  type SpanFiles,
  type SpanReader,
  type SpansDone,
} from './span-bytes.js';

const inflateWindow = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflateRaw);

const stops = {
  ok: 'ok',
  wrongInput: 'unread',
  notRead: 'unread',
  wrongIndex: 'wrongIndex',
  notWritten: 'unwritten',
} as const satisfies Record<(typeof filesResults)[number], SpansDone['stopped']>;

let openDecoders = 0;
gauge('imgfs_layer_decoders', 'Decoders of layers that hold memory', () => openDecoders);

class NativeSpanReader implements SpanReader {
  private readonly addon: LayerAddon;
  private readonly handle: SpansHandle;
  private isOpen = true;

  constructor(addon: LayerAddon, format: LayerFormat, start: Span, window: Uint8Array) {
    this.addon = addon;
    const kind = startKinds.indexOf(start.kind);
    this.handle = addon.openSpans(layerFormats.indexOf(format), kind, start.bits, window, start.windowLength);
    openDecoders += 1;
  }

  async next({ span, input }: SpanBytes, output: Uint8Array): Promise<void> {
    const check = spanChecks.indexOf(span.check);
    const { handle } = this;
    const result =
      spanResults[await this.addon.nextSpan(handle, input, output, span.sha256, span.crc, check)];
    if (result === 'wrongInput') throw blobMismatch(span);
    if (result !== 'ok') throw indexMismatch(span);
  }

  async betweenFiles(records: Uint8Array, files: SpanFiles): Promise<SpansDone> {
    const { done, result } = await this.addon.decodeBetweenFiles(
      this.handle,
      records,
      files.blob,
      files.decoded,
    );
    return { done, stopped: stops[filesResults[result] ?? 'wrongIndex'] };
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    openDecoders -= 1;
    this.addon.closeSpans(this.handle);
  }
}

/**
 * Start reading at a span that is not `inside`; `window` is its window as stored.
 * @throws ImgfsError `unsupported` when the format cannot be decoded here.
 */
export async function openSpanReader(
  format: LayerFormat,
  start: Span,
  window: Uint8Array,
): Promise<SpanReader> {
  if (start.check === 'output') return new ChunkReader(format);
  const addon = layerAddon();
  if (addon !== undefined && (format !== 'zstd' || addon.hasZstd())) {
    return new NativeSpanReader(addon, format, start, window);
  }
  const dictionary =
    start.windowLength === 0
      ? undefined
      : await inflateWindow(window, { maxOutputLength: start.windowLength + 1 }).catch(() => undefined);
  if (start.windowLength > 0 && dictionary?.length !== start.windowLength) throw indexMismatch(start);
  return new NodeSpanReader(format, start, dictionary);
}
