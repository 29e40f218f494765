/** An index that came with an image as it is kept: in a file like our own, else in memory. */
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Digest } from '../../oci/digest.js';
import { createLogger } from '../../observe/log.js';
import type { EntryTable } from '../index/entry-table.js';
import { IndexFile, IndexWriter, type IndexFacts } from '../index/index-file.js';
import type { Span, SpanTable } from '../index/span-table.js';
import type { ForeignIndex } from './foreign-index.js';

const log = createLogger('layer');

export interface KeptIndex {
  readonly facts: IndexFacts;
  readonly table: EntryTable;
  readonly spans: SpanTable;
  /** Bytes on disk. */
  readonly size: number;
  /** Deflated window of a span. */
  readWindow(span: Span): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** The index that was kept at `path`; undefined when there is none that fits the layer. */
export async function openKept(
  path: string,
  digest: Digest,
  blobBytes: number,
): Promise<KeptIndex | undefined> {
  const file = await IndexFile.open(path, digest).catch(() => undefined);
  if (file === undefined || (file.facts.blobSize === blobBytes && file.facts.origin !== 'pass')) return file;
  await file.close();
  await rm(path, { force: true });
  return undefined;
}

function inMemory(facts: IndexFacts, index: ForeignIndex): KeptIndex {
  const all = Buffer.concat(index.windows);
  return {
    facts,
    table: index.table,
    spans: index.spans,
    size: 0,
    readWindow: async ({ windowOffset, windowStored }) =>
      all.subarray(windowOffset, windowOffset + windowStored),
    close: async () => undefined,
  };
}

/** Keep an index for the next time. A disk that takes nothing is no reason not to use it. */
export async function keepIndex(
  path: string,
  digest: Digest,
  blobBytes: number,
  index: ForeignIndex,
): Promise<KeptIndex> {
  const { origin, format, spans, table } = index;
  const facts: IndexFacts = { digest, format, blobSize: blobBytes, decodedSize: spans.outEnd, origin };
  let writer: IndexWriter | undefined;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    writer = await IndexWriter.create(path);
    for (const window of index.windows) await writer.appendWindows(window);
    await writer.seal(facts, table, spans);
    const file = await IndexFile.open(path, digest);
    if (file !== undefined) return file;
  } catch (error) {
    await writer?.abandon(true);
    log.warn('index that came with an image cannot be kept', { digest, error: String(error) });
  }
  return inMemory(facts, index);
}
