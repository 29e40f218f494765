/**
 * Repository names that were seen to exist, store by store, as a tree: what is listed where a registry has no
 * catalog, and what need not be asked again.
 */

interface NameNode {
  /** True for a repository, false for what only leads to one. */
  repository: boolean;
  readonly children: Map<string, NameNode>;
}

/** About 150 bytes each: 15 MB when full. A catalog larger than that is streamed, never held. */
const defaultMaxNames = 100_000;

export class KnownNames {
  readonly #roots = new Map<string, NameNode>();
  readonly #maxNames: number;
  #count = 0;

  constructor(maxNames: number = defaultMaxNames) {
    this.#maxNames = maxNames;
  }

  /** Remember a repository. Beyond a bound nothing new is taken: the registry is asked again then. */
  add(storeId: string, repository: string): void {
    let node = this.#roots.get(storeId) ?? newNode();
    this.#roots.set(storeId, node);
    for (const component of repository === '' ? [] : repository.split('/')) {
      const child = node.children.get(component) ?? this.#grow(node, component);
      if (child === undefined) return;
      node = child;
    }
    node.repository = true;
  }

  /** The store said that there is no such repository (any more). */
  remove(storeId: string, repository: string): void {
    const node = this.#find(storeId, repository);
    if (node !== undefined) node.repository = false;
  }

  /** Whether the name is a repository, leads to one, or neither. */
  kind(storeId: string, name: string): 'repository' | 'prefix' | undefined {
    const node = this.#find(storeId, name);
    if (node === undefined) return undefined;
    if (node.repository) return 'repository';
    return [...node.children.values()].some(leadsSomewhere) ? 'prefix' : undefined;
  }

  /** Components known directly below a name, sorted. */
  children(storeId: string, name: string): readonly string[] {
    const node = this.#find(storeId, name);
    if (node === undefined) return [];
    return [...node.children]
      .flatMap(([component, child]) => (leadsSomewhere(child) ? [component] : []))
      .sort();
  }

  #find(storeId: string, name: string): NameNode | undefined {
    let node = this.#roots.get(storeId);
    for (const component of name === '' ? [] : name.split('/')) node = node?.children.get(component);
    return node;
  }

  #grow(parent: NameNode, component: string): NameNode | undefined {
    if (this.#count >= this.#maxNames) return undefined;
    this.#count += 1;
    const child = newNode();
    parent.children.set(component, child);
    return child;
  }
}

function newNode(): NameNode {
  return { repository: false, children: new Map() };
}

function leadsSomewhere(node: NameNode): boolean {
  return node.repository || [...node.children.values()].some(leadsSomewhere);
}
