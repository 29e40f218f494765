/** `<alg>/<hex>`: two levels that name things by digest without a colon in a path. */
import { isDigest, isDigestAlgorithm, type Digest, type DigestAlgorithm } from '../../oci/digest.js';
import type { CallOptions } from '../../store/store.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, ListedChild, Listing, MaybePromise, NodeStat } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, found, missing } from './answers.js';

/** What lies below, in terms of digests. */
export interface DigestNamespace {
  lookup(digest: Digest, options: CallOptions): MaybePromise<Found>;
  /** What is known or listed; not all that can be looked up. */
  list(options: CallOptions): MaybePromise<readonly { readonly digest: Digest; readonly found?: Found }[]>;
  /** What the entries are. */
  readonly childType: 'file' | 'directory';
}

/** The upper level: the algorithms. sha256 is always listed, the others when there is something below. */
export class DigestDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #namespace: DigestNamespace;

  constructor(context: TreeContext, namespace: DigestNamespace) {
    this.#context = context;
    this.#namespace = namespace;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  stat(): NodeStat {
    return directoryStat(this.#context.mountTimeNs);
  }

  lookup(name: Name): Found {
    const { immutableMs } = this.#context.lifetimes;
    const algorithm = nameToText(name);
    if (!isDigestAlgorithm(algorithm)) return missing(immutableMs);
    return found(this.#below(algorithm), immutableMs);
  }

  async list(options: CallOptions): Promise<Listing> {
    const entries = await this.#namespace.list(options);
    const algorithms = new Set([
      'sha256',
      ...entries.map(({ digest }) => digest.slice(0, digest.indexOf(':'))),
    ]);
    const children = [...algorithms].map((algorithm): ListedChild => ({
      name: nameFromText(algorithm),
      type: 'directory',
      found: found(this.#below(algorithm as DigestAlgorithm), this.#context.lifetimes.immutableMs),
    }));
    return { children, immutable: false };
  }

  #below(algorithm: DigestAlgorithm): DirectoryNode {
    return new AlgorithmDirectory(this.#context, this.#namespace, algorithm);
  }
}

/** The lower level: hex digits. */
class AlgorithmDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #namespace: DigestNamespace;
  readonly #algorithm: DigestAlgorithm;

  constructor(context: TreeContext, namespace: DigestNamespace, algorithm: DigestAlgorithm) {
    this.#context = context;
    this.#namespace = namespace;
    this.#algorithm = algorithm;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  stat(): NodeStat {
    return directoryStat(this.#context.mountTimeNs);
  }

  lookup(name: Name, options: CallOptions): MaybePromise<Found> {
    const digest = `${this.#algorithm}:${nameToText(name)}`;
    if (!isDigest(digest)) return missing(this.#context.lifetimes.immutableMs);
    return this.#namespace.lookup(digest, options);
  }

  async list(options: CallOptions): Promise<Listing> {
    const prefix = `${this.#algorithm}:`;
    const entries = await this.#namespace.list(options);
    const children = entries
      .filter(({ digest }) => digest.startsWith(prefix))
      .map(({ digest, found: known }): ListedChild => ({
        name: nameFromText(digest.slice(prefix.length)),
        type: this.#namespace.childType,
        ...(known === undefined ? {} : { found: known }),
      }));
    return { children, immutable: false };
  }
}
