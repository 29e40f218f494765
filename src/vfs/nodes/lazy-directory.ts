/** A directory whose children are computed from verified content when they are first asked for. */
import type { CallOptions } from '../../store/store.js';
import { nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, Listing, NodeStat, VfsNode } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, found, listed, missing } from './answers.js';

export interface LazyDirectoryOptions {
  readonly mtimeNs?: bigint;
  /** How long names may be believed, in milliseconds. Default: for ever, since content cannot change. */
  readonly ttlMs?: number;
}

export class LazyDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #load: (options: CallOptions) => Promise<ReadonlyMap<string, VfsNode>>;
  readonly #options: LazyDirectoryOptions;

  constructor(
    context: TreeContext,
    load: (options: CallOptions) => Promise<ReadonlyMap<string, VfsNode>>,
    options: LazyDirectoryOptions = {},
  ) {
    this.#context = context;
    this.#load = load;
    this.#options = options;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  stat(): NodeStat {
    return directoryStat(this.#options.mtimeNs ?? this.#context.mountTimeNs);
  }

  async lookup(name: Name, options: CallOptions): Promise<Found> {
    const node = (await this.#load(options)).get(nameToText(name));
    return node === undefined ? missing(this.#ttlMs) : found(node, this.#ttlMs);
  }

  async list(options: CallOptions): Promise<Listing> {
    const children = [...(await this.#load(options))].flatMap(([name, node]) =>
      listed(name, found(node, this.#ttlMs)),
    );
    return { children, immutable: this.#options.ttlMs === undefined };
  }

  get #ttlMs(): number {
    return this.#options.ttlMs ?? this.#context.lifetimes.immutableMs;
  }
}
