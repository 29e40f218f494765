/** Makes the index of a layer: begins or resumes a pass, keeps its journal, and gives the index its name. */
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import type { ErrorCode } from '../../errors/codes.js';
import { createLogger } from '../../observe/log.js';
import { counter } from '../../observe/metrics.js';
import { EntryTable } from '../index/entry-table.js';
import { IndexWriter, type IndexFacts } from '../index/index-file.js';
import { SpanTable, type Span } from '../index/span-table.js';
import { layerKey } from '../read/decoded-file.js';
import { Turns } from '../turns.js';
import { appendEntries } from './append-entries.js';
import { BuildFolder } from './build-folder.js';
import { IndexPass, type PassParts } from './index-pass.js';
import {
  JournalWriter,
  readJournal,
  recoveredSpans,
  savedPosition,
  type RecoveredPass,
} from './pass-journal.js';

const log = createLogger('layer');
const passesResumed = counter(
  'imgfs_layer_passes_resumed_total',
  'Index passes that went on where one was cut off',
);

/** What is wrong with the layer itself: the next pass would fail the same way. */
const lasting: ReadonlySet<ErrorCode> = new Set(['integrity', 'invalid-content', 'too-large', 'unsupported']);

export interface BuildParts extends Omit<PassParts, 'table' | 'spans' | 'writer' | 'journal' | 'resume'> {
  /** Bytes of the blob between two entries of the journal. */
  readonly commitBytes: number;
}

/** True for errors that say something about the layer itself. */
export const isLasting = (error: unknown): boolean => error instanceof ImgfsError && lasting.has(error.code);

export class IndexBuild {
  /** Grow while `run` is at work. */
  readonly table: EntryTable;
  readonly spans: SpanTable;
  private readonly path: string;
  private readonly writer: IndexWriter;
  private readonly folder: BuildFolder | undefined;
  private readonly recovered: RecoveredPass | undefined;

  private constructor(
    path: string,
    writer: IndexWriter,
    folder: BuildFolder | undefined,
    recovered:
      { readonly pass: RecoveredPass; readonly table: EntryTable; readonly spans: SpanTable } | undefined,
  ) {
    this.path = path;
    this.writer = writer;
    this.folder = folder;
    this.recovered = recovered?.pass;
    this.table = recovered?.table ?? new EntryTable();
    this.spans = recovered?.spans ?? new SpanTable();
  }

  /** Prepare to make the index at `path`, with what an earlier pass left if it is of use. */
  static async prepare(path: string, digest: PassParts['descriptor']['digest']): Promise<IndexBuild> {
    const folder = await BuildFolder.claim(dirname(path), layerKey(digest));
    if (folder === undefined)
      return new IndexBuild(path, await IndexWriter.create(path), undefined, undefined);
    try {
      const pass = await readJournal(folder.journal);
      if (pass !== undefined) return await IndexBuild.resume(path, folder, pass);
    } catch (error) {
      log.info('index pass starts over', { digest, cause: toImgfsError(error).message });
    }
    await rm(folder.journal, { force: true });
    return new IndexBuild(path, await IndexWriter.create(path, folder.windows), folder, undefined);
  }

  private static async resume(path: string, folder: BuildFolder, pass: RecoveredPass): Promise<IndexBuild> {
    const spans = await recoveredSpans(pass, new Turns());
    const table = new EntryTable();
    for (const records of pass.entries) await appendEntries(table, records, new Turns());
    const writer = await IndexWriter.resume(path, folder.windows, pass.windowBytes);
    passesResumed.add();
    return new IndexBuild(path, writer, folder, { pass, table, spans });
  }

  /** It goes on where another pass was cut off. */
  get isResumed(): boolean {
    return this.recovered !== undefined;
  }

  /** Deflated window of a span that is known. */
  readWindow(span: Span): Promise<Uint8Array> {
    return this.writer.readWindow(span);
  }

  /**
   * Run the pass and write the index. False: everything is known, but the disk did not take the index; it lives in
   * this object then.
   * @throws ImgfsError as `IndexPass.run`.
   */
  async run(parts: BuildParts): Promise<{ readonly facts: IndexFacts; readonly isWritten: boolean }> {
    let journal: JournalWriter | undefined;
    try {
      journal = await this.openJournal(parts.commitBytes);
      const result = await new IndexPass({ ...parts, ...this.passParts(journal) }).run();
      await journal?.close();
      await this.table.seal(new Turns(parts.signal));
      const { digest } = parts.descriptor;
      const facts = { digest, blobSize: parts.blob.size, origin: 'pass', ...result } as const;
      const isWritten = await this.seal(facts);
      await this.folder?.remove();
      return { facts, isWritten };
    } catch (error) {
      await journal?.close().catch(() => undefined);
      await this.leave(toImgfsError(error, 'index layer'));
      throw error;
    }
  }

  /** Let go of what `run` left in memory. */
  async close(): Promise<void> {
    await this.writer.abandon(true);
  }

  private passParts(journal: JournalWriter | undefined): Omit<PassParts, keyof BuildParts> {
    const { table, spans, writer, recovered } = this;
    return {
      table,
      spans,
      writer,
      ...(journal === undefined ? {} : { journal }),
      ...(recovered === undefined
        ? {}
        : { resume: { saved: recovered.saved, ...savedPosition(recovered.saved) } }),
    };
  }

  private async openJournal(commitBytes: number): Promise<JournalWriter | undefined> {
    if (this.folder === undefined) return undefined;
    return JournalWriter.create(this.folder.journal, this.spans, commitBytes, this.recovered).catch(
      () => undefined,
    );
  }

  private async seal(facts: IndexFacts): Promise<boolean> {
    try {
      await this.writer.seal(facts, this.table, this.spans);
      return true;
    } catch (error) {
      log.warn('layer index cannot be kept', { digest: facts.digest, path: this.path, error: String(error) });
      return false;
    }
  }

  /** An interrupted pass leaves its journal; one that failed for good leaves nothing. */
  private async leave(error: ImgfsError): Promise<void> {
    // Whoever went on from a journal and failed may have been misled by it.
    const isOver = isLasting(error) || isImgfsError(error, 'internal');
    await this.writer.abandon(this.folder === undefined || isOver);
    if (isOver) await this.folder?.remove();
    else await this.folder?.release();
  }
}
