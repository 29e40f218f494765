/** Files whose bytes are in memory, or made when somebody looks. */
import { SingleFlight } from '../../image/single-flight.js';
import type { CallOptions } from '../../store/store.js';
import type { FileNode, MaybePromise, NodeStat, NodeXattrs, OpenFile } from '../node.js';
import { fileStat } from './answers.js';

/** Copy what lies at `position`; the number of bytes. */
export function copyAt(source: Uint8Array, buffer: Uint8Array, position: number): number {
  const part = source.subarray(position, position + buffer.byteLength);
  buffer.set(part);
  return part.byteLength;
}

/** An open file over bytes in memory. */
export function openBytes(bytes: Uint8Array, options: { readonly directIo: boolean }): OpenFile {
  return {
    keepCache: !options.directIo,
    directIo: options.directIo,
    read: (buffer, position) => copyAt(bytes, buffer, position),
    close: () => undefined,
  };
}

/** A small text that is known when the node is made. */
export class TextFile implements FileNode {
  readonly type = 'file';
  readonly attrTtlMs: number;
  readonly #bytes: Uint8Array;
  readonly #mtimeNs: bigint;

  constructor(text: string, attrTtlMs: number, mtimeNs: bigint) {
    this.#bytes = Buffer.from(text, 'utf8');
    this.attrTtlMs = attrTtlMs;
    this.#mtimeNs = mtimeNs;
  }

  stat(): NodeStat {
    return fileStat(this.#bytes.byteLength, this.#mtimeNs);
  }

  open(): OpenFile {
    return openBytes(this.#bytes, { directIo: false });
  }
}

/** Something derived from verified content: made at the first look, then the same for ever. */
export class DerivedFile implements FileNode {
  readonly type = 'file';
  readonly attrTtlMs: number;
  readonly #render: (options: CallOptions) => Promise<Uint8Array>;
  readonly #mtimeNs: () => bigint;
  readonly #flight = new SingleFlight<Uint8Array>();
  readonly #xattrs: NodeXattrs | undefined;
  #bytes: Uint8Array | undefined;

  constructor(options: {
    readonly render: (options: CallOptions) => Promise<Uint8Array>;
    readonly attrTtlMs: number;
    readonly mtimeNs: () => bigint;
    readonly xattrs?: NodeXattrs;
  }) {
    this.#render = options.render;
    this.attrTtlMs = options.attrTtlMs;
    this.#mtimeNs = options.mtimeNs;
    this.#xattrs = options.xattrs;
  }

  get statIsDear(): boolean {
    return this.#bytes === undefined;
  }

  stat(options: CallOptions): MaybePromise<NodeStat> {
    const known = this.#bytes;
    if (known !== undefined) return fileStat(known.byteLength, this.#mtimeNs());
    return this.#load(options).then((bytes) => fileStat(bytes.byteLength, this.#mtimeNs()));
  }

  async open(options: CallOptions): Promise<OpenFile> {
    return openBytes(await this.#load(options), { directIo: false });
  }

  xattrs(): NodeXattrs {
    return this.#xattrs ?? new Map();
  }

  async #load(options: CallOptions): Promise<Uint8Array> {
    this.#bytes ??= await this.#flight.run('', options.signal, (signal) => this.#render({ signal }));
    return this.#bytes;
  }
}

/**
 * A control file: rendered at each `stat` and `open`. While it is open its size is that of what was opened (the longest,
 * if several are): many programs read as much as fstat says, and a fresh rendering that is shorter would cut theirs.
 */
export class LiveFile implements FileNode {
  readonly type = 'file';
  readonly attrTtlMs = 0;
  readonly statIsDear = true;
  readonly #render: (options: CallOptions) => Promise<Uint8Array>;
  readonly #now: () => bigint;
  readonly #open = new Set<Uint8Array>();

  constructor(render: (options: CallOptions) => Promise<Uint8Array>, now: () => bigint) {
    this.#render = render;
    this.#now = now;
  }

  async stat(options: CallOptions): Promise<NodeStat> {
    let size = 0;
    for (const { byteLength } of this.#open) size = Math.max(size, byteLength);
    return fileStat(size > 0 ? size : (await this.#render(options)).byteLength, this.#now());
  }

  async open(options: CallOptions): Promise<OpenFile> {
    const bytes = await this.#render(options);
    this.#open.add(bytes);
    const file = openBytes(bytes, { directIo: true });
    return {
      ...file,
      close: async () => {
        this.#open.delete(bytes);
        await file.close();
      },
    };
  }
}
