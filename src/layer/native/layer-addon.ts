/** Types of what `native/src/layer-*-calls.cc` export, and the way to it. */
import { loadAddon } from '../../addon/load-addon.js';

/** How the bytes of a layer are packed. The numbers are those of `Format` in native/src/decoder.h. */
export const layerFormats = ['plain', 'gzip', 'zstd'] as const;
export type LayerFormat = (typeof layerFormats)[number];

/** An index pass under way, held by the addon until it is garbage. */
export type IndexerHandle = { readonly __brand: 'IndexerHandle' };

/** What one step brought; the buffers belong to the receiver. */
export interface IndexerStep {
  /** Bytes of the input that were used; the rest must be given again. */
  readonly consumed: number;
  /** Bytes of the blob and of the decoded archive so far. */
  readonly inTotal: number;
  readonly outTotal: number;
  /** Records as in `tar/entry-record.ts`. */
  readonly entries: Uint8Array<ArrayBuffer>;
  /** Records as in `index/span.ts`. */
  readonly spans: Uint8Array<ArrayBuffer>;
  /** Windows of these spans, one behind the other. */
  readonly windows: Uint8Array<ArrayBuffer>;
  /** Hex digest of the blob, after the last step. */
  readonly digest: string;
  /** Why the blob cannot be read on; empty when all is well. */
  readonly error: string;
  /** Where: in the decoded archive when `errorIsTar`, else in the blob. */
  readonly errorOffset: number;
  readonly errorIsTar: boolean;
  /** Decoded bytes could not be written: nothing is kept from here on. */
  readonly decodedLost: boolean;
}

/** Spans being read one behind the other, held by the addon until `closeSpans`, or until it is garbage. */
export type SpansHandle = { readonly __brand: 'SpansHandle' };

/** Results of `nextSpan`: `SpanResult` in native/src/span-reader.h. */
export const spanResults = ['ok', 'wrongInput', 'wrongIndex'] as const;

/** Results of `decodeBetweenFiles`: `FilesResult` in native/src/span-files.h. */
export const filesResults = ['ok', 'wrongInput', 'wrongIndex', 'notRead', 'notWritten'] as const;

export interface FilesOutcome {
  /** Spans that are decoded, checked and written. */
  readonly done: number;
  /** Place in `filesResults`: of the span behind them. */
  readonly result: number;
}

export interface LayerAddon {
  /** `format`: place in `layerFormats`; `algorithm`: 0 none, 1 sha256, 2 sha512. Throws without libzstd. */
  createIndexer(format: number, algorithm: number, spanBytes: number): IndexerHandle;
  /** Go on where `saveIndexer` was called. False when the state is not usable. */
  restoreIndexer(handle: IndexerHandle, state: Uint8Array): boolean;
  saveIndexer(handle: IndexerHandle): Uint8Array<ArrayBuffer>;
  /** Write decoded bytes to this descriptor as well; -1 stops it. */
  keepDecoded(handle: IndexerHandle, fd: number): void;
  /**
   * `input` must not change until the promise settles. `finish` is 1 with the last bytes: the pass ends when all of
   * them were consumed.
   */
  stepIndexer(
    handle: IndexerHandle,
    input: Uint8Array,
    outBudget: number,
    entryBudget: number,
    finish: number,
  ): Promise<IndexerStep>;
  /**
   * Start reading at a span of kind 0 (`fresh`) or 1 (`block`). `window` is deflated, `windowLength` its real length.
   * Throws without libzstd.
   */
  openSpans(
    format: number,
    kind: number,
    bits: number,
    window: Uint8Array,
    windowLength: number,
  ): SpansHandle;
  /**
   * Give back the decoder's 80 KB, which the garbage collector knows nothing of. The handle is of no use any more. Throws while
   * it is at work.
   */
  closeSpans(handle: SpansHandle): void;
  /**
   * Decode the next span: `input` is all its bytes of the blob, `output` has room for exactly what it yields. The
   * promise gives a place in `spanResults`. `check` is a place in `spanChecks`; with `output`, `crc` is the number of
   * decoded bytes that are not part of what `sha256` is of.
   */
  nextSpan(
    handle: SpansHandle,
    input: Uint8Array,
    output: Uint8Array,
    sha256: Uint8Array,
    crc: number,
    check: number,
  ): Promise<number>;
  /**
   * Decode spans that follow each other from the blob's file into the decoded archive's: `records` are those of
   * `SpanTable.records`. A span is written only when it is right. After `wrongInput` and `notRead` the span can be given
   * to `nextSpan`; after the other failures the handle is of no use.
   */
  decodeBetweenFiles(
    handle: SpansHandle,
    records: Uint8Array,
    blobFd: number,
    decodedFd: number,
  ): Promise<FilesOutcome>;
  /**
   * How many of the spans behind these records, from the first on, the file holds as they should be by the CRC-32 of their
   * decoded bytes. Stops at spans that say nothing about them, and at those of more than 2 MiB.
   */
  countRight(records: Uint8Array, decodedFd: number): Promise<number>;
  /** Say that this process reads a file: nobody punches it until the descriptor is closed. False: it cannot be said. */
  lockShared(fd: number): Promise<boolean>;
  /**
   * Give back the room of parts of a file, unless another process has locked it: three f64 for each, start, end and the
   * place of its byte in the map behind `mapFd`, which is cleared first. False when nothing was punched.
   */
  punchHoles(fd: number, mapFd: number, holes: Uint8Array): Promise<boolean>;
  hasZstd(): boolean;
}

/** The layer part of the addon, when there is an addon that has it. */
export function layerAddon(): LayerAddon | undefined {
  const { addon } = loadAddon();
  const layer = addon?.layer as Partial<LayerAddon> | undefined;
  return typeof layer?.openSpans === 'function' ? (layer as LayerAddon) : undefined;
}
