/** An image directory: one image, bound to the digest it was found by. */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { imageHistory } from '../../image/history.js';
import { accepted, isImageConfig, type Image } from '../../image/image.js';
import { findJsonMember } from '../../image/json-member.js';
import { maxConfigBytes } from '../../oci/image-config.js';
import { descriptorDocument } from '../../oci/manifest-json.js';
import { inspectImage, renderInspection } from '../../image/inspect.js';
import type { ArtifactManifest, ImageManifest, Manifest } from '../../oci/manifest.js';
import { isReferrersFinder, isSignatureKeeper, type CallOptions } from '../../store/store.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { Caller } from '../file-system.js';
import type { ChangeableDirectory, Created } from '../writable-node.js';
import { ArchiveFile, ArchiveUpload, archiveName } from '../writing/archive-upload.js';
import { writingOf } from '../writing/tag-place.js';
import type {
  Found,
  ListedChild,
  Listing,
  MaybePromise,
  NodeStat,
  NodeXattrs,
  XattrReader,
} from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, found, listed, missing, toNs } from './answers.js';
import { BlobFile, cachedPercent, descriptorXattrs } from './blob-file.js';
import { DerivedFile, TextFile } from './bytes-file.js';
import { DigestDirectory } from './digest-directories.js';
import { DocumentsDirectory } from './documents-directory.js';
import { filesDirectory, hasFiles } from './files-directory.js';
import { LayersDirectory } from './layers-directory.js';
import { platformsDirectory } from './platforms-directory.js';
import { referrersNamespace } from './referrers-namespace.js';

export interface ImageDirectoryOptions {
  /** When the store said what the name stands for, in milliseconds since the epoch. */
  readonly resolvedAt?: number;
  /** True when the store could not be asked. */
  readonly stale?: boolean;
  /** Asked about names that no image directory has: a nested repository of the tag's name may have them. */
  readonly otherwise?: (name: Name, options: CallOptions) => Promise<Found>;
}

/** Told of an image that a policy rejects too: what it is, and who has signed it. */
const saysWhoItIs: ReadonlySet<string> = new Set(['digest', 'reference', 'descriptor.json', 'signatures']);

/** The layers of an image, or the blobs of an artifact. */
export function layersOf(manifest: ImageManifest | ArtifactManifest) {
  return manifest.kind === 'image' ? manifest.layers : manifest.blobs;
}

export class ImageDirectory implements ChangeableDirectory {
  readonly type = 'directory';
  readonly version: string;
  readonly image: Image;
  readonly #context: TreeContext;
  readonly #options: ImageDirectoryOptions;

  constructor(context: TreeContext, image: Image, options: ImageDirectoryOptions = {}) {
    this.#context = context;
    this.image = image;
    this.version = image.descriptor.digest;
    this.#options = options;
  }

  /** Short until the image's own time is known, which then is shown instead of the mount's. */
  get attrTtlMs(): number {
    const { immutableMs } = this.#context.lifetimes;
    return this.image.peekCreated() === undefined ? Math.min(immutableMs, 60_000) : immutableMs;
  }

  stat(): NodeStat {
    return directoryStat(this.#mtimeNs());
  }

  xattrs(): NodeXattrs {
    const { resolvedAt, stale } = this.#options;
    return new Map<string, XattrReader>([
      ...descriptorXattrs(this.image.descriptor),
      [
        'user.imgfs.resolved',
        () => (resolvedAt === undefined ? undefined : new Date(resolvedAt).toISOString()),
      ],
      ['user.imgfs.stale', () => (stale === true ? 'yes' : undefined)],
      ['user.imgfs.cached', () => this.#cached()],
    ]);
  }

  /** The manifest stands for the tag, or without one for the image. */
  async unlink(name: Name, caller: Caller): Promise<void> {
    const writing = writingOf(this.#context);
    const text = nameToText(name);
    const top = this.image.isIndex ? 'index.json' : 'manifest.json';
    if (text !== top) {
      throw new ImgfsError('immutable', `rm ${text}: an image is deleted whole`, {
        hint: `rmdir it, or rm ${top}`,
      });
    }
    const { store, repository, tag, descriptor } = this.image;
    const call = { signal: caller.signal };
    if (tag === undefined) await writing.deleteManifest(store, repository, descriptor.digest, call);
    else await writing.deleteTag(store, repository, tag, call);
  }

  /** An archive that is to become the tag, in place of the image. */
  async create(name: Name, caller: Caller): Promise<Created> {
    const writing = writingOf(this.#context);
    const text = nameToText(name);
    const { store, repository, tag, parent } = this.image;
    if (text !== archiveName || tag === undefined || parent !== undefined) {
      throw new ImgfsError('forbidden', `create ${text}: an image that is there takes no more files`, {
        hint: `${archiveName}, written into a tag, replaces it; other tags are made with mkdir`,
      });
    }
    writing.assertOverwrite(`the tag ${tag}`);
    const archive = await ArchiveUpload.begin(writing, { store, repository, tag }, () => undefined);
    const node = new ArchiveFile(archive);
    return { node, file: node.openForWriting(0, caller) };
  }

  lookup(name: Name, options: CallOptions): MaybePromise<Found> {
    const text = nameToText(name);
    const archive = text === archiveName ? this.#archive() : undefined;
    if (archive !== undefined) return found(new ArchiveFile(archive), 0);
    const { gate } = this.#context;
    if (gate === undefined || saysWhoItIs.has(text)) return this.#lookupAdmitted(name, text, options);
    return gate.admit(this.image, options).then(() => this.#lookupAdmitted(name, text, options));
  }

  #lookupAdmitted(name: Name, text: string, options: CallOptions): MaybePromise<Found> {
    const known = this.#known(text);
    if (known !== undefined) return known;
    return this.#derived(text, options).then((answer) => answer ?? this.#elsewhere(name, options));
  }

  async list(options: CallOptions): Promise<Listing> {
    await this.#context.gate?.admit(this.image, options);
    const top = await this.#loadTop(options);
    const names = ['manifest.json', ...(this.image.isIndex ? ['index.json'] : []), 'digest', 'reference'];
    if (top === undefined) return { children: this.#children(names), immutable: true };
    const isArtifact = top.kind === 'artifact';
    const leaf = this.image.peekChosen()?.manifest;
    const related =
      top.kind === 'index' || this.image.parent !== undefined || this.image.store.transport === 'docker';
    const withReferrers = isReferrersFinder(this.image.store);
    names.push(
      ...(isArtifact ? [] : ['config.json']),
      'inspect.json',
      'history.json',
      'layers',
      ...(top.kind === 'index' ? ['platforms'] : []),
      ...(withReferrers ? ['referrers'] : []),
      ...(withReferrers || related || isSignatureKeeper(this.image.store) ? ['signatures'] : []),
      ...(withReferrers || related ? ['sbom', 'attestations'] : []),
      ...(leaf !== undefined && hasFiles(layersOf(leaf)) ? ['files'] : []),
    );
    const extra: ListedChild[] = [];
    for (const extension of this.#context.extensions) {
      extra.push(...(await extension.list('image', this.image, options)));
    }
    return { children: [...this.#children(names), ...extra], immutable: leaf !== undefined };
  }

  /** What is on its way to the tag. */
  #archive(): ArchiveUpload | undefined {
    const { store, repository, tag, parent } = this.image;
    const { writing } = this.#context;
    if (writing === undefined || tag === undefined || parent !== undefined) return undefined;
    return ArchiveUpload.of(writing, { store, repository, tag });
  }

  /** Names that need no request. */
  #known(name: string): Found | undefined {
    const { immutableMs } = this.#context.lifetimes;
    const { image } = this;
    const text = (line: string): Found =>
      found(new TextFile(`${line}\n`, immutableMs, this.#context.mountTimeNs), immutableMs);
    switch (name) {
      case 'digest':
        return text(image.descriptor.digest);
      case 'reference':
        return text(image.reference);
      case 'inspect.json':
        return found(this.#inspection(), immutableMs);
      case 'history.json':
        return found(
          this.#json((options) => historyDocument(image, options)),
          immutableMs,
        );
      case 'descriptor.json':
        return found(
          this.#json(async () => descriptorDocument(image.descriptor)),
          immutableMs,
        );
      case 'layers':
        return found(new LayersDirectory(this.#context, image), immutableMs);
      case 'platforms':
        return image.isIndex
          ? found(platformsDirectory(this.#context, image), immutableMs)
          : missing(immutableMs);
      case 'referrers':
        return isReferrersFinder(image.store)
          ? found(new DigestDirectory(this.#context, referrersNamespace(this.#context, image)), immutableMs)
          : missing(immutableMs);
      case 'signatures':
        return found(new DocumentsDirectory(this.#context, image, 'signature'), immutableMs);
      case 'sbom':
        return found(new DocumentsDirectory(this.#context, image, 'sbom'), immutableMs);
      case 'attestations':
        return found(new DocumentsDirectory(this.#context, image, 'attestation'), immutableMs);
      case 'index.json':
        return image.isIndex ? this.#blob(image.descriptor) : missing(immutableMs);
      case 'manifest.json':
        return this.#manifestIfAtHand();
      case 'config.json':
        return this.#configIfAtHand();
      default:
        return undefined;
    }
  }

  /** Names that need the manifest. */
  async #derived(name: string, options: CallOptions): Promise<Found | undefined> {
    const { immutableMs } = this.#context.lifetimes;
    switch (name) {
      case 'manifest.json':
        return this.#blob((await this.image.leaf(options)).descriptor);
      case 'config.json': {
        const { manifest } = await this.#chosen(options);
        return manifest.kind === 'image' ? this.#blob(manifest.config) : missing(immutableMs);
      }
      case 'runconfig.json':
        return this.#runConfig(options);
      case 'files': {
        const layers = layersOf((await this.#chosen(options)).manifest);
        return hasFiles(layers)
          ? found(filesDirectory(this.#context, this.image, layers), immutableMs)
          : missing(immutableMs);
      }
      default:
        return undefined;
    }
  }

  async #elsewhere(name: Name, options: CallOptions): Promise<Found> {
    for (const extension of this.#context.extensions) {
      const answer = await extension.lookup('image', this.image, name, options);
      if (answer !== undefined) return answer;
    }
    const { immutableMs } = this.#context.lifetimes;
    return this.#options.otherwise === undefined
      ? missing(immutableMs)
      : this.#options.otherwise(name, options);
  }

  #manifestIfAtHand(): Found | undefined {
    const leaf = this.image.peekLeaf();
    return leaf === undefined ? undefined : this.#blob(leaf.descriptor);
  }

  #configIfAtHand(): Found | undefined {
    const manifest = this.image.peekChosen()?.manifest;
    if (manifest === undefined) return undefined;
    return manifest.kind === 'image'
      ? this.#blob(manifest.config)
      : missing(this.#context.lifetimes.immutableMs);
  }

  #children(names: readonly string[]): ListedChild[] {
    return names.flatMap((name) => {
      const answer = this.#known(name);
      if (name === 'inspect.json' || name === 'history.json' || answer === undefined)
        return [{ name: nameFromText(name), type: typeOf(name) }];
      return listed(name, answer);
    });
  }

  /** The document, or undefined when it is refused: the directory then shows the raw bytes only. */
  async #loadTop(options: CallOptions): Promise<Manifest | undefined> {
    const loaded = await this.image.loadTop(options);
    this.#context.seen.learn(this.image.store, this.image.repository, loaded.descriptor, loaded.manifest);
    if (loaded.refused !== undefined && isImgfsError(loaded.refused)) return undefined;
    return accepted(loaded);
  }

  async #chosen(options: CallOptions) {
    const chosen = await this.image.chosen(options);
    this.#context.seen.learn(this.image.store, this.image.repository, chosen.descriptor, chosen.manifest);
    return chosen;
  }

  #blob(descriptor: Image['descriptor']): Found {
    const { tag } = this.image;
    const isTop = tag !== undefined && descriptor.digest === this.image.descriptor.digest;
    const file = new BlobFile(this.#context, this.image.source(descriptor), {
      mtimeNs: this.#mtimeNs(),
      ...(isTop ? { tag } : {}),
    });
    return found(file, this.#context.lifetimes.immutableMs);
  }

  #inspection(): DerivedFile {
    return new DerivedFile({
      attrTtlMs: this.#context.lifetimes.immutableMs,
      mtimeNs: () => this.#mtimeNs(),
      render: async (options) => Buffer.from(renderInspection(await inspectImage(this.image, options))),
    });
  }

  #json(document: (options: CallOptions) => Promise<unknown>): DerivedFile {
    return new DerivedFile({
      attrTtlMs: this.#context.lifetimes.immutableMs,
      mtimeNs: () => this.#mtimeNs(),
      render: async (options) => Buffer.from(`${JSON.stringify(await document(options), undefined, 2)}\n`),
    });
  }

  /** How a container runs: the exact bytes of `config` in the config. */
  async #runConfig(options: CallOptions): Promise<Found> {
    const { immutableMs } = this.#context.lifetimes;
    const { manifest } = await this.#chosen(options);
    if (manifest.kind !== 'image' || !isImageConfig(manifest.config)) return missing(immutableMs);
    const source = this.image.source(manifest.config);
    const render = async (call: CallOptions): Promise<Uint8Array> => {
      const bytes = await this.#context.content.readAll(source, { ...call, maxBytes: maxConfigBytes });
      const range = await findJsonMember(bytes, 'config', call);
      return range === undefined ? Buffer.from('{}\n') : bytes.subarray(range.start, range.end);
    };
    const { attrTtlMs } = this;
    return found(new DerivedFile({ attrTtlMs, mtimeNs: () => this.#mtimeNs(), render }), immutableMs);
  }

  #mtimeNs(): bigint {
    const created = this.image.peekCreated();
    return created === undefined ? this.#context.mountTimeNs : toNs(created);
  }

  /** Percent of the layers that is cached; unknown, and absent, until the manifest was read. */
  async #cached(): Promise<string | undefined> {
    const chosen = this.image.peekChosen();
    if (chosen === undefined) return undefined;
    return String(await cachedPercent(this.#context, layersOf(chosen.manifest)));
  }
}

function typeOf(name: string): 'file' | 'directory' {
  return name.endsWith('.json') ? 'file' : 'directory';
}

/** Steps and layers, oldest first, as `imgfs history --json` prints them. */
async function historyDocument(image: Image, options: CallOptions): Promise<unknown> {
  const { manifest } = await image.chosen(options);
  return imageHistory(await image.config(options), layersOf(manifest));
}
