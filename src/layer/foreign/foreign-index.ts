/** What an index that came with an image says, in our own terms. */
import type { EntryTable } from '../index/entry-table.js';
import type { IndexOrigin } from '../index/index-file.js';
import type { SpanTable } from '../index/span-table.js';
import type { LayerFormat } from '../native/layer-addon.js';

export interface ForeignIndex {
  readonly origin: Exclude<IndexOrigin, 'pass'>;
  readonly format: LayerFormat;
  /** `dataOffset` of a file is where it begins in what the spans decode to. */
  readonly table: EntryTable;
  readonly spans: SpanTable;
  /** Deflated windows of the spans, one behind the other. */
  readonly windows: readonly Uint8Array[];
}
