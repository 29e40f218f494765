/**
 * Images as members of an archive: an image layout, or one that `docker load` takes as well (the form of Docker 25 and
 * later: a layout with `manifest.json` and `repositories`). Layers stay as they are stored, so digests stay too.
 * Metadata comes first: a reader of a stream knows what is coming.
 */
import type { Descriptor } from '../../../oci/descriptor.js';
import { digestAlgorithm, digestHex, type Digest } from '../../../oci/digest.js';
import type { ImageName } from '../../image-name.js';
import { addUnnamed, hasName, readIndexDocument, setName } from '../../layout/edit-index.js';
import { emptyIndex } from '../../layout/layout-index.js';
import { layoutText } from '../../layout/layout-marker.js';
import { planTar, type MemberBlob, type PlannedMember, type TarPlan } from './tar-plan.js';

export type ArchiveFormat = 'oci-archive' | 'docker-archive';

/** What `docker load` makes an image of. */
export interface LoadableImage {
  readonly config: Digest;
  readonly layers: readonly Digest[];
}

/** One image with everything below it. */
export interface ArchivedImage {
  readonly descriptor: Descriptor;
  readonly names: readonly ImageName[];
  /** Its manifest or index, and children. */
  readonly manifests: readonly { readonly digest: Digest; readonly bytes: Uint8Array }[];
  /** Configs and layers. */
  readonly blobs: readonly MemberBlob[];
  /** Of the platform that an engine would choose; undefined for an artifact. */
  readonly loadable?: LoadableImage;
}

/** Lay out an archive. A name that comes twice belongs to the later image; `index` is an index.json to go on from. */
export async function planImages(
  format: ArchiveFormat,
  images: readonly ArchivedImage[],
  index: Uint8Array = Buffer.from(emptyIndex),
): Promise<TarPlan> {
  const metadata: PlannedMember[] = [
    { name: 'oci-layout', content: Buffer.from(layoutText) },
    { name: 'index.json', content: indexWith(index, images) },
    ...(format === 'docker-archive' ? dockerMembers(images) : []),
  ];
  const blobs = new Map<Digest, PlannedMember>();
  for (const { manifests } of images) {
    for (const { digest, bytes } of manifests) blobs.set(digest, { name: blobName(digest), content: bytes });
  }
  for (const blob of images.flatMap((image) => image.blobs)) {
    if (!blobs.has(blob.digest)) blobs.set(blob.digest, { name: blobName(blob.digest), content: blob });
  }
  return planTar([...metadata, ...directoriesOf([...blobs.keys()]), ...blobs.values()]);
}

/**
 * The directories of blobs, as `skopeo copy` and `docker save` write them. Without, containers/image makes them and gives
 * them to root, which nobody else may: to an ordinary user the archive would be unreadable.
 */
function directoriesOf(digests: readonly Digest[]): readonly PlannedMember[] {
  const algorithms = [...new Set(digests.map(digestAlgorithm))];
  const names = algorithms.length === 0 ? [] : ['blobs/', ...algorithms.map((name) => `blobs/${name}/`)];
  return names.map((name) => ({ name, content: new Uint8Array(0) }));
}

function blobName(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}

function indexWith(bytes: Uint8Array, images: readonly ArchivedImage[]): Uint8Array {
  const document = readIndexDocument(bytes);
  let { entries } = document;
  for (const { descriptor, names } of images) {
    if (names.length === 0) entries = addUnnamed(entries, descriptor);
    for (const name of names) {
      // What is listed already keeps the annotations it has there.
      const listed = entries.some((entry) => entry['digest'] === descriptor.digest && hasName(entry, name));
      if (!listed) entries = setName(entries, name, descriptor);
    }
  }
  return document.write(entries);
}

/** `manifest.json`, and `repositories` for whoever is older than that (moby image/tarexport/save.go). */
function dockerMembers(images: readonly ArchivedImage[]): readonly PlannedMember[] {
  const owners = new Map(images.flatMap((image) => image.names.map((name) => [fullName(name), image])));
  const repositories: Record<string, Record<string, string>> = {};
  const saved = images.flatMap((image) => {
    const { loadable } = image;
    // Artifacts and attestations: they are in the index, and no engine loads them.
    if (loadable === undefined) return [];
    const names = image.names.filter(
      (name) => name.repository !== '' && owners.get(fullName(name)) === image,
    );
    const top = loadable.layers.at(-1);
    for (const { repository, tag } of top === undefined ? [] : names) {
      repositories[repository] = { ...repositories[repository], [tag]: digestHex(top as Digest) };
    }
    return [
      {
        Config: blobName(loadable.config),
        RepoTags: names.length === 0 ? null : names.map(fullName),
        Layers: loadable.layers.map(blobName),
      },
    ];
  });
  return [
    { name: 'manifest.json', content: Buffer.from(JSON.stringify(saved)) },
    { name: 'repositories', content: Buffer.from(JSON.stringify(repositories)) },
  ];
}

function fullName({ repository, tag }: ImageName): string {
  return `${repository}:${tag}`;
}
