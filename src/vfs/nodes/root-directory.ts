/** The mount point: control files, blobs, local stores and registries. */
import { dockerHub, isRegistryHost } from '../../oci/reference.js';
import type { CallOptions } from '../../store/store.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, ListedChild, Listing, NodeStat } from '../node.js';
import { isRegistryName } from '../probe-names.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, found, listed, missing } from './answers.js';
import { mountBlobs } from './blob-namespaces.js';
import { controlDirectory, controlDirectoryName } from './control-directory.js';
import { DigestDirectory } from './digest-directories.js';
import { RepositoryDirectory } from './repository-directory.js';

export class RootDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #control: DirectoryNode;
  readonly #blobs: DirectoryNode;

  constructor(context: TreeContext) {
    this.#context = context;
    this.attrTtlMs = context.lifetimes.immutableMs;
    this.#control = controlDirectory(context);
    this.#blobs = new DigestDirectory(context, mountBlobs(context));
  }

  stat(): NodeStat {
    return directoryStat(this.#context.mountTimeNs);
  }

  /** Never a request: a host is only a directory until something in it is looked up. */
  lookup(name: Name): Found {
    const { lifetimes, stores } = this.#context;
    const text = nameToText(name);
    if (text === controlDirectoryName) return found(this.#control, lifetimes.immutableMs);
    if (text === 'blobs') return found(this.#blobs, lifetimes.immutableMs);
    if (stores.hasLocal(text)) {
      const open = () => stores.local(text);
      return this.#store({ open, repository: '', host: undefined, certainty: 'exists' });
    }
    if (!isRegistryName(text) && !this.#context.configuredRegistries.includes(text)) {
      return missing(lifetimes.immutableMs);
    }
    const host = stores.registryId(text).replace(/^docker:\/\//, '');
    return this.#store({ open: () => stores.registry(text), repository: '', host, certainty: 'exists' });
  }

  async list(_options: CallOptions): Promise<Listing> {
    const { lifetimes, stores, configuredRegistries, visitedRegistries } = this.#context;
    const remembered = await this.#rememberedRegistries();
    const names = new Set([
      ...stores.localNames(),
      ...[...configuredRegistries, ...remembered, ...visitedRegistries].sort(),
    ]);
    const children: ListedChild[] = [
      ...listed(controlDirectoryName, found(this.#control, lifetimes.immutableMs)),
      ...listed('blobs', found(this.#blobs, lifetimes.immutableMs)),
      ...[...names].flatMap((name) => listed(name, this.lookup(nameFromText(name)))),
    ];
    return { children, immutable: false };
  }

  #store(place: ConstructorParameters<typeof RepositoryDirectory>[1]): Found {
    return found(new RepositoryDirectory(this.#context, place), this.#context.lifetimes.immutableMs);
  }

  async #rememberedRegistries(): Promise<readonly string[]> {
    const ids = await this.#context.content.refs.stores();
    return ids.flatMap((id) => {
      const host = id.replace(/^docker:\/\//, '');
      return id !== host && (host === dockerHub || isRegistryHost(host)) ? [host] : [];
    });
  }
}
