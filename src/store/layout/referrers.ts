/**
 * Referrers in an image layout: manifests of the index whose `subject` is the digest, and the children of the fallback
 * tag `sha256-<hex>` (distribution-spec, "Referrers Tag Schema"), which regclient writes into layouts too.
 */
import { LRUCache } from 'lru-cache';
import type { ErrorCode } from '../../errors/codes.js';
import { isImgfsError } from '../../errors/imgfs-error.js';
import { digestAlgorithm, digestHex, type Digest } from '../../oci/digest.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Manifest } from '../../oci/manifest.js';
import { manifestKind } from '../../oci/media-type.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import type { ImageTable } from './image-table.js';

export type ManifestReader = (digest: Digest) => Promise<Uint8Array>;

/** Fallback tag of a digest: algorithm cut to 32 and encoded part to 64 characters. */
export function referrersTag(digest: Digest): string {
  return `${digestAlgorithm(digest).slice(0, 32)}-${digestHex(digest).slice(0, 64)}`;
}

/** What a manifest says about its subject; `false`: nothing, or it cannot be read as a manifest. */
type Referral = { readonly subject: Digest; readonly descriptor: Descriptor } | false;

/** artifactType of a referrer: its own, else the media type of its config (distribution-spec, end-12). */
export function referrerType(manifest: Manifest): string | undefined {
  return manifest.artifactType ?? (manifest.kind === 'image' ? manifest.config.mediaType : undefined);
}

export class ReferrersIndex {
  private readonly read: ManifestReader;
  private made: LRUCache<Digest, Exclude<Referral, false> | 'none'> | undefined;

  constructor(read: ManifestReader) {
    this.read = read;
  }

  /**
   * Manifests never change under their digest. 10,000 entries of about 1 KiB; made when it is needed, as that takes 0.7 ms:
   * a tenth of opening an archive.
   */
  private get known(): LRUCache<Digest, Exclude<Referral, false> | 'none'> {
    return (this.made ??= new LRUCache({ max: 10_000 }));
  }

  /** Each referrer once, those of the fallback tag first. */
  async *find(table: ImageTable, subject: Digest, artifactType?: string): AsyncGenerator<Descriptor> {
    const seen = new Set<Digest>();
    for await (const descriptor of this.all(table, subject)) {
      if (seen.has(descriptor.digest)) continue;
      seen.add(descriptor.digest);
      if (artifactType === undefined || descriptor.artifactType === artifactType) yield descriptor;
    }
  }

  private async *all(table: ImageTable, subject: Digest): AsyncGenerator<Descriptor> {
    const tag = referrersTag(subject);
    for (const { descriptor, names } of table.entries) {
      if (names.some((name) => name.tag === tag)) yield* await this.children(descriptor);
    }
    for (const { descriptor } of table.entries) {
      if (manifestKind(descriptor.mediaType) === undefined) continue;
      const referral = await this.referral(descriptor);
      if (referral !== false && referral.subject === subject) yield referral.descriptor;
    }
  }

  private async children(descriptor: Descriptor): Promise<readonly Descriptor[]> {
    const manifest = await this.parse(descriptor);
    return typeof manifest === 'object' && manifest.kind === 'index' ? manifest.manifests : [];
  }

  private async referral(descriptor: Descriptor): Promise<Referral> {
    const known = this.known.get(descriptor.digest);
    if (known !== undefined) return known === 'none' ? false : known;
    const manifest = await this.parse(descriptor);
    if (manifest === 'not now') return false;
    const referral = manifest === undefined ? false : referralOf(descriptor, manifest);
    this.known.set(descriptor.digest, referral === false ? 'none' : referral);
    return referral;
  }

  /**
   * Undefined for what is missing or no manifest, `not now` for what an engine is writing or removing: one image that cannot
   * be read must not hide all others.
   */
  private async parse(descriptor: Descriptor): Promise<Manifest | 'not now' | undefined> {
    try {
      return parseManifest(await this.read(descriptor.digest), descriptor.mediaType);
    } catch (error) {
      if (isImgfsError(error) && unreadable.has(error.code)) return undefined;
      if (isImgfsError(error) && passing.has(error.code)) return 'not now';
      throw error;
    }
  }
}

const unreadable: ReadonlySet<ErrorCode> = new Set([
  'not-found',
  'invalid-content',
  'unsupported',
  'too-large',
]);
const passing: ReadonlySet<ErrorCode> = new Set(['busy', 'stale', 'unavailable']);

function referralOf({ mediaType, digest, size }: Descriptor, manifest: Manifest): Referral {
  const { subject, annotations } = manifest;
  if (subject === undefined) return false;
  const artifactType = referrerType(manifest);
  return {
    subject: subject.digest,
    descriptor: {
      mediaType,
      digest,
      size,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    },
  };
}
