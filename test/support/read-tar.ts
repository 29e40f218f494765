/** All entries of an archive, by the reference reader or by the native parser. */
import { layerAddon } from '../../src/layer/native/layer-addon.js';
import { encodeEntry } from '../../src/layer/tar/entry-record.js';
import type { TarEntry } from '../../src/layer/tar/tar-entry.js';
import { TarReader } from '../../src/layer/tar/tar-reader.js';
import { toImgfsError } from '../../src/errors/imgfs-error.js';

/** Entries, or the error, of the reference reader; `cuts` are the lengths of the pieces it is fed. */
export function readTar(archive: Uint8Array, cuts: readonly number[] = []): TarEntry[] {
  const entries: TarEntry[] = [];
  const reader = new TarReader((entry) => entries.push(entry));
  for (const piece of pieces(archive, cuts)) reader.feed(piece);
  reader.end();
  return entries;
}

function* pieces(bytes: Uint8Array, cuts: readonly number[]): Generator<Uint8Array> {
  let at = 0;
  for (let index = 0; at < bytes.length; index += 1) {
    const length = Math.max(1, cuts[index % Math.max(1, cuts.length)] ?? bytes.length);
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

/** What a parser made of an archive: records as bytes, and the reason it stopped. */
export interface ParseOutcome {
  readonly records: string;
  readonly error: string;
}

/** Outcome of the reference reader. */
export function referenceOutcome(archive: Uint8Array, cuts: readonly number[] = []): ParseOutcome {
  const records: Uint8Array[] = [];
  const reader = new TarReader((entry) => records.push(encodeEntry(entry)));
  let error = '';
  try {
    for (const piece of pieces(archive, cuts)) reader.feed(piece);
    reader.end();
  } catch (thrown) {
    error = toImgfsError(thrown).message;
  }
  return { records: Buffer.concat(records).toString('hex'), error };
}

/** Outcome of the native parser; undefined without the addon. */
export async function nativeOutcome(
  archive: Uint8Array,
  cuts: readonly number[] = [],
): Promise<ParseOutcome | undefined> {
  const addon = layerAddon();
  if (addon === undefined) return undefined;
  const indexer = addon.createIndexer(0, 0, 1 << 20);
  const records: Uint8Array[] = [];
  const run = async (bytes: Uint8Array, finish: number): Promise<string> => {
    for (let at = 0; ;) {
      const step = await addon.stepIndexer(indexer, bytes.subarray(at), 1 << 30, 1 << 20, finish);
      records.push(step.entries);
      if (step.error !== '') return `read tar: ${step.error} (at byte ${step.errorOffset})`;
      at += step.consumed;
      if (at >= bytes.length) return '';
    }
  };
  let error = '';
  for (const piece of pieces(archive, cuts)) {
    error = await run(piece, 0);
    if (error !== '') break;
  }
  if (error === '') error = await run(new Uint8Array(0), 1);
  return { records: Buffer.concat(records).toString('hex'), error };
}
