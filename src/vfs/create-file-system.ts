/** Puts the tree of one mount together: stores, cache and options in, a `FileSystem` out. */
import { statfs } from 'node:fs/promises';
import { LRUCache } from 'lru-cache';
import type { ContentCache } from '../content/content.js';
import { Images } from '../image/images.js';
import type { Policy } from '../image/signatures/policy.js';
import { PolicyGate } from '../image/signatures/policy-gate.js';
import { Signatures } from '../image/signatures/signatures.js';
import { SeenBlobs } from '../image/seen-blobs.js';
import type { StoreDirectory } from '../image/stores.js';
import type { Platform } from '../oci/platform.js';
import type { RegistriesD } from '../store/lookaside/registries-d.js';
import { ErrorLog } from '../observe/error-log.js';
import { EntryExpiry } from './entry-expiry.js';
import { Failures } from './failures.js';
import type { FileSystem, FileSystemStatistics } from './file-system.js';
import { defaultLifetimes, type Lifetimes } from './lifetimes.js';
import { maxNameBytes } from './name.js';
import { toNs } from './nodes/answers.js';
import { ImageDirectory } from './nodes/image-directory.js';
import { isImageEntryName } from './nodes/image-names.js';
import { RepositoryDirectory } from './nodes/repository-directory.js';
import { RootDirectory } from './nodes/root-directory.js';
import { Tree, type TreeOptions } from './tree.js';
import { WritableTree } from './writable-tree.js';
import { Writing, type WritingRules } from './writing/writing.js';
import type { ControlFile, ImageExtension, TreeContext } from './tree-context.js';

/** What a tree is made of. */
export interface FileSystemOptions {
  readonly stores: StoreDirectory;
  readonly content: ContentCache;
  /** Which child of an index is *the* image. Default: the host's platform. */
  readonly platform?: Platform;
  /** How long a tag is believed, in milliseconds. Default 60 s. */
  readonly tagTtlMs?: number;
  readonly lifetimes?: Partial<Lifetimes>;
  /** Owner of all files. Default: this process. */
  readonly uid?: number;
  readonly gid?: number;
  /** Files of `/.imgfs/`, by name. */
  readonly controlFiles?: ReadonlyMap<string, ControlFile>;
  /** Registries and repositories to list without a visit: `docker.io/library/alpine`, `ghcr.io`. */
  readonly configured?: readonly string[];
  /** What other rooms add to image directories. */
  readonly extensions?: readonly ImageExtension[];
  /** Where simple signing keeps signatures; without it none are looked for there. */
  readonly registriesD?: RegistriesD;
  /** Images that it rejects are refused. Blobs by digest alone are of no image, and are not asked about. */
  readonly policy?: Policy;
  /** Where failures go. Default: a log of its own. */
  readonly errorLog?: ErrorLog;
  /** Time of what has no time of its own, in milliseconds since the epoch. Default: now. */
  readonly mountTimeMs?: number;
  /** Take writes, by these rules. Default: the tree is read-only. */
  readonly writing?: WritingRules;
  /** Clock of tags and answers, for tests. */
  readonly now?: () => number;
}

/** A file system over stores and a cache, neither of which it closes. */
export function createFileSystem(options: FileSystemOptions): FileSystem {
  const { stores, content } = options;
  const lifetimes = { ...defaultLifetimes, ...options.lifetimes };
  const extensions = options.extensions ?? [];
  const configured = splitConfigured(options.configured ?? [], stores);
  const images = new Images({
    content,
    negativeTtlMs: lifetimes.negativeMs,
    configured: configured.repositories,
    neverAssumed: (name) => isImageEntryName(name) || extensions.some((one) => one.owns('image', name)),
    ...(options.platform === undefined ? {} : { platform: options.platform }),
    ...(options.tagTtlMs === undefined ? {} : { tagTtlMs: options.tagTtlMs }),
    ...(options.now === undefined ? {} : { now: options.now }),
  });
  const signatures = new Signatures({
    content,
    related: images.related,
    ...(options.registriesD === undefined ? {} : { registriesD: options.registriesD }),
  });
  const context: TreeContext = {
    stores,
    content,
    images,
    signatures,
    ...(options.policy === undefined
      ? {}
      : { gate: new PolicyGate({ policy: options.policy, signatures, ttlMs: images.tagTtlMs }) }),
    seen: new SeenBlobs(),
    lifetimes,
    mountTimeNs: toNs(options.mountTimeMs ?? Date.now()),
    controlFiles: options.controlFiles ?? new Map(),
    extensions,
    configuredRegistries: configured.registries,
    visitedRegistries: new Set(),
    // As many as ever fail at once, and no more than a hostile registry may make us remember.
    suspects: new LRUCache({ maxSize: 10_000, sizeCalculation: () => 1 }),
    repositoryNode: (store, repository, host) =>
      new RepositoryDirectory(context, {
        open: () => Promise.resolve(store),
        repository,
        host,
        certainty: 'exists',
      }),
    imageNode: (image) => new ImageDirectory(context, image),
    now: options.now ?? Date.now,
  };
  const unlisten = content.onIntegrityFailure((digest) => context.suspects.set(digest, true));
  if (options.writing !== undefined) context.writing = new Writing(context, options.writing);
  const treeOptions: TreeOptions = {
    root: new RootDirectory(context),
    failures: new Failures(options.errorLog ?? new ErrorLog()),
    expiry: new EntryExpiry(images.tags),
    uid: options.uid ?? process.getuid?.() ?? 0,
    gid: options.gid ?? process.getgid?.() ?? 0,
    statfs: () => cacheStatistics(content.directory),
    onClose: async () => {
      await context.writing?.close();
      unlisten();
      for (const extension of extensions) await extension.close?.();
    },
  };
  if (context.writing === undefined) return new Tree(treeOptions);
  void context.writing.recover().catch(() => undefined);
  return new WritableTree(treeOptions);
}

/** What `df` shows: the disk that the cache is on. */
async function cacheStatistics(directory: string): Promise<FileSystemStatistics> {
  const facts = await statfs(directory);
  return {
    blockSize: facts.bsize,
    blocks: facts.blocks,
    blocksFree: facts.bavail,
    files: 0,
    maxNameLength: maxNameBytes,
  };
}

/** `host/repository…` to repositories by store, and the hosts of all. */
function splitConfigured(names: readonly string[], stores: StoreDirectory) {
  const repositories = new Map<string, string[]>();
  const registries = new Set<string>();
  for (const name of names) {
    const [host = '', ...rest] = name.split('/');
    registries.add(host);
    if (rest.length === 0) continue;
    const id = stores.registryId(host);
    repositories.set(id, [...(repositories.get(id) ?? []), rest.join('/')]);
  }
  return { repositories, registries: [...registries] };
}
