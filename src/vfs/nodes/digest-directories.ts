/** `<alg>/<hex>`: two levels that name things by digest without a colon in a path. */
import type { BlobSource } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Caller } from '../file-system.js';
import { isDigest, isDigestAlgorithm, type Digest, type DigestAlgorithm } from '../../oci/digest.js';
import type { CallOptions } from '../../store/store.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, ListedChild, Listing, MaybePromise, NodeStat, VfsNode } from '../node.js';
import type { ChangeableDirectory, Created } from '../writable-node.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, found, missing } from './answers.js';

/** What lies below, in terms of digests. */
export interface DigestNamespace {
  lookup(digest: Digest, options: CallOptions): MaybePromise<Found>;
  /** What is known or listed; not all that can be looked up. */
  list(options: CallOptions): MaybePromise<readonly { readonly digest: Digest; readonly found?: Found }[]>;
  /** Only where entries can be made or deleted. */
  readonly changes?: DigestChanges;
  /** What the entries are. */
  readonly childType: 'file' | 'directory';
}

/** Changes by digest: a blob is created, linked and unlinked, a manifest's directory made and removed. */
export interface DigestChanges {
  create?(digest: Digest, caller: Caller): Promise<Created>;
  link?(digest: Digest, source: BlobSource, caller: Caller): Promise<Found>;
  adopt?(digest: Digest, node: VfsNode): Promise<void>;
  mkdir?(digest: Digest, caller: Caller): Promise<DirectoryNode>;
  remove(digest: Digest, options: CallOptions): Promise<void>;
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
class AlgorithmDirectory implements ChangeableDirectory {
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

  async create(name: Name, caller: Caller): Promise<Created> {
    return this.#allowed('create')(this.#digest(name), caller);
  }

  async mkdir(name: Name, caller: Caller): Promise<DirectoryNode> {
    return this.#allowed('mkdir')(this.#digest(name), caller);
  }

  async linkBlob(name: Name, source: BlobSource, caller: Caller): Promise<Found> {
    return this.#allowed('link')(this.#digest(name), source, caller);
  }

  async adopt(name: Name, node: VfsNode): Promise<void> {
    return this.#allowed('adopt')(this.#digest(name), node);
  }

  async unlink(name: Name, caller: Caller): Promise<void> {
    return this.#allowed('remove')(this.#digest(name), caller);
  }

  async rmdir(name: Name, caller: Caller): Promise<void> {
    return this.#allowed('remove')(this.#digest(name), caller);
  }

  #digest(name: Name): Digest {
    const digest = `${this.#algorithm}:${nameToText(name)}`;
    if (isDigest(digest)) return digest;
    throw new ImgfsError(
      'name-invalid',
      `${JSON.stringify(nameToText(name))} is not a ${this.#algorithm} digest`,
    );
  }

  #allowed<Method extends keyof DigestChanges>(method: Method): NonNullable<DigestChanges[Method]> {
    const change = this.#namespace.changes?.[method];
    if (change !== undefined) return change;
    throw new ImgfsError('immutable', `${method}: this place takes no writes`);
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
