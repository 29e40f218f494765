/** Reads a table of contents from its JSON, as it comes. */
import { Turns } from '../turns.js';
import { createHash } from 'node:crypto';
import { EntryTable } from '../index/entry-table.js';
import { SpanTable } from '../index/span-table.js';
import { foreignError } from './foreign-error.js';
import { TocConverter, type ConverterParts } from './toc-converter.js';
import { parseTocEntry, type TocEntry } from './toc-entry.js';
import { TocScanner } from './toc-scanner.js';

/** The only version there is of both formats. */
const tocVersion = 1;

export class TocTable {
  readonly table = new EntryTable();
  readonly spans = new SpanTable();
  private readonly converter: TocConverter;
  private readonly scanner: TocScanner;
  private readonly hash = createHash('sha256');
  /** Bytes of JSON so far. */
  jsonBytes = 0;

  constructor(parts: Pick<ConverterParts, 'limits' | 'blobBytes' | 'payloadEnd'>) {
    this.converter = new TocConverter({ ...parts, table: this.table, spans: this.spans });
    this.scanner = new TocScanner((value) => this.converter.add(parseTocEntry(value)));
  }

  /** Take more of the JSON. @throws ImgfsError `invalid-content`, `too-large`. */
  push(json: Uint8Array): void {
    this.hash.update(json);
    this.jsonBytes += json.length;
    this.scanner.push(json);
  }

  /**
   * The JSON is complete: check its version. Returns its sha256. `last` is an entry behind all others.
   * @throws ImgfsError `invalid-content`.
   */
  async finish(last?: (sha256: Buffer) => TocEntry): Promise<Buffer> {
    const { version } = this.scanner.finish();
    if (version !== tocVersion) throw foreignError('its version is not known');
    const sha256 = this.hash.digest();
    if (last !== undefined) this.converter.add(last(sha256));
    this.converter.finish();
    await this.table.seal(new Turns());
    return sha256;
  }
}
