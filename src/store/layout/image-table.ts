/**
 * The images of an index.json, by name (image-spec image-layout.md, annotations.md).
 *
 * Names come from `org.opencontainers.image.ref.name` (a bare tag or a full name) and from `io.containerd.image.name`
 * (a full name); one image may have both. Every image is reachable by position (`@0`) and by digest too.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { hostPlatform, type Platform } from '../../oci/platform.js';
import { isTag } from '../../oci/reference.js';
import { selectManifest } from '../../oci/select-manifest.js';
import { imagePosition, parseFullName, parseImageName, type ImageName } from '../image-name.js';
import type { Target } from '../store.js';

export const refNameAnnotation = 'org.opencontainers.image.ref.name';
export const containerdNameAnnotation = 'io.containerd.image.name';

export interface ImageEntry {
  /** Position in the index, from 0. */
  readonly position: number;
  readonly descriptor: Descriptor;
  /** Without doubles; empty for an image without a name. */
  readonly names: readonly ImageName[];
}

/** The names that the annotations of an entry give it. */
export function entryNames(annotations: Readonly<Record<string, unknown>> | undefined): readonly ImageName[] {
  const short = annotations?.[refNameAnnotation];
  const full = annotations?.[containerdNameAnnotation];
  const names = [
    typeof short === 'string' && short !== '' ? parseImageName(short) : undefined,
    typeof full === 'string' ? parseFullName(full) : undefined,
  ].filter((name) => name !== undefined);
  return names.filter((name, at) => names.findIndex((other) => isSameName(name, other)) === at);
}

export function isSameName(left: ImageName, right: ImageName): boolean {
  return left.repository === right.repository && left.tag === right.tag;
}

/** Full name of a repository in a local store: `alpine` means `docker.io/library/alpine`; undefined: no such name. */
export function canonicalRepository(repository: string): string | undefined {
  // The tag makes a colon in the name a syntax error instead of a tag.
  return repository === '' ? '' : parseFullName(`${repository}:x`)?.repository;
}

/** Images by name, position and digest; immutable. */
export class ImageTable {
  readonly entries: readonly ImageEntry[];
  /** For messages: path of the store. */
  readonly path: string;
  private readonly byTag = new Map<string, Map<string, ImageEntry[]>>();
  private readonly byDigest = new Map<Digest, ImageEntry>();

  constructor(path: string, images: readonly Omit<ImageEntry, 'position'>[]) {
    this.path = path;
    this.entries = images.map((image, position) => ({ ...image, position }));
    for (const entry of this.entries) {
      if (!this.byDigest.has(entry.descriptor.digest)) this.byDigest.set(entry.descriptor.digest, entry);
      for (const { repository, tag } of entry.names) {
        const tags = this.byTag.get(repository) ?? new Map<string, ImageEntry[]>();
        this.byTag.set(repository, tags);
        tags.set(tag, [...(tags.get(tag) ?? []), entry]);
      }
    }
  }

  /** Sorted; `''` is there when an image has a bare tag or no name, or when there are no images at all. */
  repositories(): readonly string[] {
    const bare = this.entries.length === 0 || this.entries.some(({ names }) => names.length === 0);
    const named = [...this.byTag.keys()];
    return (bare && !named.includes('') ? ['', ...named] : named).sort();
  }

  /**
   * Sorted tags of a repository. Names that are no legal tags (`v1+build`) are resolved but not listed.
   * @throws ImgfsError `not-found`.
   */
  tags(repository: string): readonly string[] {
    const canonical = canonicalRepository(repository);
    const tags = canonical === undefined ? undefined : this.byTag.get(canonical);
    if (tags === undefined && canonical !== '') this.refuseRepository(repository);
    return [...(tags?.keys() ?? [])].filter(isTag).sort();
  }

  /** The entry of an image that the index names; undefined when it does not. */
  byDigestOf(digest: Digest): ImageEntry | undefined {
    return this.byDigest.get(digest);
  }

  /**
   * The image meant by a target without digest. No tag: `latest`, or in repository `''` the only image there is.
   * Several images of one name are one image for several platforms when they all have a platform.
   * @throws ImgfsError `not-found`; `invalid-content` when several images have that name.
   */
  resolve({ repository, tag }: Target, platform: Platform = hostPlatform()): Descriptor {
    const position = tag === undefined ? undefined : imagePosition(tag);
    if (position !== undefined) return this.at(position);
    if (repository === '' && tag === undefined) return this.only();
    const canonical = canonicalRepository(repository);
    const tags = canonical === undefined ? undefined : this.byTag.get(canonical);
    if (tags === undefined && canonical !== '') this.refuseRepository(repository);
    const found = tags?.get(tag ?? 'latest') ?? [];
    const name = repository === '' ? (tag ?? '') : `${repository}:${tag ?? 'latest'}`;
    return this.oneOf(found, name, platform);
  }

  private oneOf(found: readonly ImageEntry[], name: string, platform: Platform): Descriptor {
    const [first, ...others] = found;
    if (first === undefined) {
      const known = this.someNames();
      throw new ImgfsError('not-found', `resolve ${name}: ${this.path} has no image of that name`, {
        reference: name,
        path: this.path,
        ...(known === '' ? {} : { hint: `it has: ${known}` }),
      });
    }
    if (others.every(({ descriptor }) => descriptor.digest === first.descriptor.digest))
      return first.descriptor;
    const manifests = found.map(({ descriptor }) => descriptor);
    if (manifests.every((child) => child.platform !== undefined)) {
      return selectManifest(
        { kind: 'index', mediaType: mediaTypes.ociIndex, manifests, annotations: {} },
        platform,
      );
    }
    throw new ImgfsError('invalid-content', `resolve ${name}: ${found.length} images have that name`, {
      reference: name,
      path: this.path,
      hint: `choose one by position: ${found.map((entry) => `@${entry.position}`).join(', ')}`,
    });
  }

  private at(position: number): Descriptor {
    const entry = this.entries[position];
    if (entry !== undefined) return entry.descriptor;
    throw new ImgfsError(
      'not-found',
      `resolve @${position}: ${this.path} has ${this.entries.length} images, counted from 0`,
    );
  }

  private only(): Descriptor {
    const [first, ...others] = this.entries;
    if (first === undefined) throw new ImgfsError('not-found', `resolve image: ${this.path} is empty`);
    if (others.length === 0) return first.descriptor;
    const names = this.someNames();
    throw new ImgfsError('invalid', `resolve image: ${this.path} has ${this.entries.length} images`, {
      hint: names === '' ? 'choose one by position, @0 for the first' : `choose one of: ${names}`,
    });
  }

  private refuseRepository(repository: string): never {
    const known = this.repositories().filter((name) => name !== '');
    throw new ImgfsError('not-found', `${this.path} has no repository ${JSON.stringify(repository)}`, {
      reference: repository,
      ...(known.length === 0 ? {} : { hint: `it has: ${known.slice(0, 10).join(', ')}` }),
    });
  }

  private someNames(): string {
    return this.entries
      .flatMap(({ names }) => names)
      .slice(0, 10)
      .map(({ repository, tag }) => (repository === '' ? tag : `${repository}:${tag}`))
      .join(', ');
  }
}
