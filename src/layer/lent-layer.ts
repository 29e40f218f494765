/** A shared layer with a `close` of its own, which counts once. Its errors never say that a name is not there. */
import type { SharedFile } from '../content/shared-file.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { ByteRange, CallOptions } from '../store/store.js';
import type { EntryTable } from './index/entry-table.js';
import type { IndexOrigin } from './index/index-file.js';
import type { Layer, LayerBacking, LayerProgress } from './layer.js';
import { missingBlob } from './missing-blob.js';
import type { LayerFormat } from './native/layer-addon.js';

export class LentLayer implements Layer {
  private readonly layer: Layer;
  private giveBack: (() => Promise<void>) | undefined;
  private readonly holds: (() => void)[] = [];

  constructor(layer: Layer, giveBack: () => Promise<void>) {
    this.layer = layer;
    this.giveBack = giveBack;
  }

  get descriptor(): Descriptor {
    return this.layer.descriptor;
  }

  get identity(): string {
    return this.layer.identity;
  }

  get isVerified(): boolean {
    return this.layer.isVerified;
  }

  get table(): EntryTable {
    return this.layer.table;
  }

  get format(): LayerFormat | undefined {
    return this.layer.format;
  }

  get origin(): IndexOrigin | undefined {
    return this.layer.origin;
  }

  get decodedSize(): number | undefined {
    return this.layer.decodedSize;
  }

  progress(): LayerProgress {
    return this.layer.progress();
  }

  whenReady(options?: CallOptions): Promise<void> {
    return this.told(this.layer.whenReady(options));
  }

  whenChanged(options?: CallOptions): Promise<void> {
    return this.told(this.layer.whenChanged(options));
  }

  whenIndexed(options?: CallOptions): Promise<void> {
    return this.told(this.layer.whenIndexed(options));
  }

  readDecoded(buffer: Uint8Array, position: number, options?: CallOptions): Promise<number> {
    return this.told(this.layer.readDecoded(buffer, position, options));
  }

  fillDecoded(range: ByteRange, options?: CallOptions): Promise<void> {
    return this.told(this.layer.fillDecoded(range, options));
  }

  fetchAhead(range: ByteRange, options?: CallOptions): Promise<void> {
    return this.layer.fetchAhead(range, options);
  }

  readEntry(row: number, buffer: Uint8Array, position: number, options?: CallOptions): Promise<number> {
    return this.told(this.layer.readEntry(row, buffer, position, options));
  }

  backing(): LayerBacking | undefined {
    const backing = this.layer.backing();
    if (backing === undefined) return undefined;
    const hold = (range: ByteRange): (() => void) => {
      const release = backing.hold(range);
      this.holds.push(release);
      return release;
    };
    return { ...backing, hold };
  }

  sharedFile(): SharedFile | undefined {
    return this.layer.sharedFile();
  }

  passed(start: number): void {
    this.layer.passed(start);
  }

  async close(): Promise<void> {
    for (const release of this.holds.splice(0)) release();
    const { giveBack } = this;
    this.giveBack = undefined;
    await giveBack?.();
  }

  private told<Value>(answer: Promise<Value>): Promise<Value> {
    return answer.catch((error: unknown) => {
      throw missingBlob(error, this.descriptor.digest);
    });
  }
}
