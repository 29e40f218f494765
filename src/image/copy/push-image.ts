/**
 * Pushing under a tag that may be there already (linuxkit's `Push`): what is the same is left alone, platforms are
 * merged into the index that is there, and each platform may get a tag of its own.
 */
import { ifMissing } from '../../errors/if-missing.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { ImageIndex, Manifest } from '../../oci/manifest.js';
import { manifestKind } from '../../oci/media-type.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import { isTag } from '../../oci/reference.js';
import { isAttestationManifest } from '../../oci/select-manifest.js';
import type { CallOptions } from '../../store/store.js';
import { mergeIndex } from '../merge-index.js';
import { readManifest } from '../read-manifest.js';
import {
  copyImage,
  type CopyDestination,
  type CopyOptions,
  type CopyResult,
  type CopySource,
} from './copy-image.js';

/** How a push meets what is there. */
export interface PushOptions extends Omit<CopyOptions, 'tags'> {
  readonly tag: string;
  /** More names for the same. */
  readonly moreTags?: readonly string[];
  /** Each platform of an index under `<tag>-<architecture>` too. */
  readonly archTags?: boolean;
  /** Replace what the tag names, instead of merging platforms into it. */
  readonly override?: boolean;
}

/** What a push did. */
export interface PushResult {
  /** What the tag names now. */
  readonly descriptor: Descriptor;
  /** `present`: it named that already. `merged`: platforms that were there stay. */
  readonly outcome: 'present' | 'pushed' | 'merged';
  /** Tags that were put, the first one last. */
  readonly tags: readonly string[];
  /** Undefined when nothing was copied. */
  readonly copied?: CopyResult;
}

/** @throws ImgfsError as `copyImage`; `name-invalid` when a tag with the architecture is none. */
export async function pushImage(
  source: CopySource,
  destination: CopyDestination,
  options: PushOptions,
): Promise<PushResult> {
  const { tag, moreTags = [], archTags, override, ...copy } = options;
  const names = [...new Set([...moreTags, tag])];
  const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal };
  const there = await tagged(destination, tag, call);
  const perPlatform = archTags === true ? await architectureTags(source, tag, call) : [];
  const present = there?.digest === source.descriptor.digest;
  if (present && perPlatform.length === 0 && moreTags.length === 0)
    return { descriptor: there, outcome: 'present', tags: [] };
  const ours = present || override === true ? undefined : await indexOf(source, source.descriptor, call);
  const theirs =
    ours === undefined || there === undefined ? undefined : await indexOf(destination, there, call);
  if (ours === undefined || theirs === undefined) {
    const copied = await copyImage(source, destination, { ...copy, tags: names });
    const tags = await tagPlatforms(source, destination, perPlatform, copy);
    return {
      descriptor: copied.descriptor,
      outcome: present ? 'present' : 'pushed',
      tags: [...tags, ...names],
      copied,
    };
  }
  const copied = await copyImage(source, destination, { ...copy, tags: [] });
  const merged = mergeIndex(theirs, ours.manifests);
  const descriptor = await destination.store.putManifest(
    destination.repository,
    merged.bytes,
    merged.descriptor.mediaType,
    { ...call, tags: names },
  );
  const tags = await tagPlatforms(source, destination, perPlatform, copy);
  return { descriptor, outcome: 'merged', tags: [...tags, ...names], copied };
}

async function tagged(
  { store, repository }: CopyDestination,
  tag: string,
  call: CallOptions,
): Promise<Descriptor | undefined> {
  return (await ifMissing(store.resolve({ repository, tag }, call), undefined))?.descriptor;
}

async function manifestOf(
  { store, repository }: Pick<CopySource, 'store' | 'repository'>,
  descriptor: Descriptor,
  call: CallOptions,
): Promise<Manifest> {
  return parseManifest(await readManifest(store, repository, descriptor, call), descriptor.mediaType);
}

async function indexOf(
  place: Pick<CopySource, 'store' | 'repository'>,
  descriptor: Descriptor,
  call: CallOptions,
): Promise<ImageIndex | undefined> {
  if (manifestKind(descriptor.mediaType) !== 'index') return undefined;
  const manifest = await manifestOf(place, descriptor, call);
  return manifest.kind === 'index' ? manifest : undefined;
}

interface PlatformTag {
  readonly tag: string;
  readonly descriptor: Descriptor;
}

/** `v1-arm64` for each child with a platform; `v1-arm-v7` where two variants would share a tag. */
async function architectureTags(
  source: CopySource,
  tag: string,
  call: CallOptions,
): Promise<readonly PlatformTag[]> {
  const index = await indexOf(source, source.descriptor, call);
  const children = (index?.manifests ?? []).filter(
    (child) => child.platform !== undefined && !isAttestationManifest(child),
  );
  const architectures = children.map(({ platform }) => platform?.architecture ?? '');
  return children.map((descriptor, at) => {
    const architecture = architectures[at] ?? '';
    const shared = architectures.filter((other) => other === architecture).length > 1;
    const variant = descriptor.platform?.variant;
    const suffix = shared && variant !== undefined ? `${architecture}-${variant}` : architecture;
    const name = `${tag}-${suffix}`;
    if (!isTag(name)) throw new ImgfsError('name-invalid', `push: ${JSON.stringify(name)} is not a tag`);
    return { tag: name, descriptor };
  });
}

async function tagPlatforms(
  source: CopySource,
  destination: CopyDestination,
  wanted: readonly PlatformTag[],
  copy: Omit<CopyOptions, 'tags'>,
): Promise<readonly string[]> {
  for (const { tag, descriptor } of wanted)
    await copyImage({ ...source, descriptor }, destination, { ...copy, tags: [tag] });
  return wanted.map(({ tag }) => tag);
}
