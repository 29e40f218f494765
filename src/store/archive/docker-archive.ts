/**
 * What `docker save` writes: `docker-archive:path` (moby daemon/internal/image/tarexport; containers/image
 * docker/internal/tarfile).
 *
 * `manifest.json` lists the images; configs and layers are members anywhere in the archive, layers mostly uncompressed,
 * so that their digest is the diffID of the config. The format has no manifests: a schema 2 manifest is made, the same
 * on each opening. Where the archive is an image layout too (Docker 25 and later), its own manifests are used.
 */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import { maxConfigBytes, parseDiffIds } from '../../oci/image-config.js';
import { asObject, optionalStrings, refuseField, requiredString } from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';
import type { Manifest } from '../../oci/manifest.js';
import { maxManifestBytes, parseManifest } from '../../oci/parse-manifest.js';
import { parseFullName, type ImageName } from '../image-name.js';
import { ImageTable, isSameName, type ImageEntry } from '../layout/image-table.js';
import {
  blobSize,
  readExactly,
  type ArchiveBlob,
  type ArchiveContents,
  type ScannedArchive,
} from './archive-contents.js';
import { ManifestDraft, type ImageMembers, type LoadOptions } from './manifest-draft.js';
import type { MemberTable } from './member-table.js';
import { layoutBlob, loadOciArchive } from './oci-archive.js';
import { membersAtEnd, ParsedMembers } from './parsed-members.js';
import type { TarMember } from './scan-tar.js';
import type { ArchiveBytes } from './walk-headers.js';

interface SavedImage extends ImageMembers {
  readonly names: readonly ImageName[];
}

/** Finds the images; one for each opening of an archive. */
export class DockerArchiveLoader {
  private readonly lists = new ParsedMembers(parseSavedImages, maxManifestBytes);
  private readonly configs = new ParsedMembers((bytes) => new SavedConfig(bytes), maxConfigBytes);
  /** Of what was foreseen. */
  private readonly drafts = new Map<SavedImage, ManifestDraft>();

  /** Parse what is at the end of an archive: there writers put the list, and configs before it. */
  foresee(end: ArchiveBytes): void {
    const members = membersAtEnd(end);
    const list = members.get(listName);
    const saved = list === undefined ? undefined : this.lists.foresee(list);
    for (const image of saved?.slice(0, maxForeseen) ?? []) {
      const member = members.get(image.config);
      const config = member === undefined ? undefined : this.configs.foresee(member);
      config?.foresee();
      if (config !== undefined) this.drafts.set(image, new ManifestDraft(image, config));
    }
  }

  /** Go on with the manifests of what was foreseen. An archive that has its own throws them away. */
  prepare(members: MemberTable): void {
    for (const draft of this.drafts.values()) draft.advance(members);
  }

  /** @throws ImgfsError `invalid-content` naming what is missing or contradictory; `unsupported` for docker < 1.10. */
  async load(archive: ScannedArchive, options: LoadOptions = {}): Promise<ArchiveContents> {
    const saved = await this.lists.of(archive, findList(archive));
    const layout = await layoutSide(archive);
    const blobs = new Map<Digest, ArchiveBlob>();
    const images: IndexedImage[] = [];
    for (const image of saved) {
      const config = await this.configs.of(archive, archive.members.mustFind(image.config));
      const known = sameImage(layout?.byConfig.get(config.digest) ?? [], image);
      const descriptor = known ?? (await this.draftOf(image, config).finish(archive, blobs, options));
      images.push({ descriptor, names: image.names });
    }
    const others = layout?.images.filter(({ descriptor }) =>
      images.every((image) => image.descriptor.digest !== descriptor.digest),
    );
    const table = new ImageTable(
      archive.file.path,
      [...images, ...(others ?? [])].map(mergeNames(layout?.images ?? [])),
    );
    return {
      images: table,
      ...(layout === undefined ? {} : { index: layout.index }),
      blob: (digest) => blobs.get(digest) ?? layoutBlob(archive, digest),
    };
  }

  /** What was begun, if the list and the config at the end of the archive are those that the scan has found. */
  private draftOf(image: SavedImage, config: SavedConfig): ManifestDraft {
    const begun = this.drafts.get(image);
    return begun?.config === config ? begun : new ManifestDraft(image, config);
  }
}

const listName = 'manifest.json';

/** Images of an archive that are parsed while it is read: reading takes some milliseconds, a config a tenth of one. */
const maxForeseen = 8;

/** A config, with what is computed from it when it is asked for. */
class SavedConfig {
  readonly bytes: Buffer;
  private computed: { digest?: Digest; diffIds?: readonly Digest[] } = {};

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get digest(): Digest {
    return (this.computed.digest ??= digestOf(this.bytes));
  }

  /** @throws ImgfsError `invalid-content`. */
  get diffIds(): readonly Digest[] {
    return (this.computed.diffIds ??= parseDiffIds(this.bytes));
  }

  /** Compute what can be computed. */
  foresee(): void {
    try {
      void [this.digest, this.diffIds];
    } catch {
      // Thrown when it is asked for.
    }
  }
}

/** One config can be an image of its own and a child of an index: the name tells which is meant. */
function sameImage(candidates: readonly IndexedImage[], { names }: SavedImage): Descriptor | undefined {
  const named = candidates.find((candidate) =>
    candidate.names.some((name) => names.some((other) => isSameName(name, other))),
  );
  return (named ?? candidates[0])?.descriptor;
}

/** An image has the names of both sides. */
function mergeNames(layout: readonly IndexedImage[]) {
  return ({ descriptor, names }: IndexedImage): IndexedImage => {
    const more = layout
      .filter((other) => other.descriptor.digest === descriptor.digest)
      .flatMap((other) => other.names);
    const all = [...names, ...more];
    return {
      descriptor,
      names: all.filter((name, at) => all.findIndex((other) => isSameName(name, other)) === at),
    };
  };
}

function findList({ file, members }: ScannedArchive): TarMember {
  const member = members.find(listName);
  if (member !== undefined) return member;
  const isOci = members.find('index.json') !== undefined;
  const isOld = members.find('repositories') !== undefined;
  throw new ImgfsError(
    isOld && !isOci ? 'unsupported' : 'invalid-content',
    `open docker-archive ${file.path}: it has no ${listName}`,
    {
      path: file.path,
      hint: isOci
        ? 'it is an image layout: use oci-archive: instead of docker-archive:'
        : isOld
          ? 'it was saved by a Docker older than 1.10: load and save it again'
          : 'it is no archive of images: check with tar -tf',
    },
  );
}

function parseSavedImages(bytes: Buffer, what: string): readonly SavedImage[] {
  const document = parseUntrustedJson(bytes, { what, maxBytes: maxManifestBytes });
  if (!Array.isArray(document)) refuseField(what, 'not a list');
  return document.map((value, index) => parseSavedImage(value, `${what}[${index}]`));
}

function parseSavedImage(value: unknown, where: string): SavedImage {
  const object = asObject(value, where);
  return {
    config: requiredString(object, 'Config', where),
    layers: optionalStrings(object, 'Layers', where) ?? [],
    names: (optionalStrings(object, 'RepoTags', where) ?? []).map(
      (tag) =>
        parseFullName(tag) ??
        refuseField(`${where}.RepoTags`, `${JSON.stringify(tag.slice(0, 300))} is no name`),
    ),
  };
}

type IndexedImage = Omit<ImageEntry, 'position'>;

interface LayoutSide {
  readonly images: readonly IndexedImage[];
  readonly index: Uint8Array;
  /** What the index names, an image or an index of images, by the digest of the config. */
  readonly byConfig: ReadonlyMap<Digest, readonly IndexedImage[]>;
}

/** The index of an archive that is an image layout too; undefined when it is none. */
async function layoutSide(archive: ScannedArchive): Promise<LayoutSide | undefined> {
  if (archive.members.find('oci-layout') === undefined || archive.members.find('index.json') === undefined) {
    return undefined;
  }
  const { images, index = Buffer.alloc(0) } = await loadOciArchive(archive);
  const byConfig = new Map<Digest, IndexedImage[]>();
  for (const entry of images.entries) {
    for (const config of await configDigests(archive, entry.descriptor)) {
      byConfig.set(config, [...(byConfig.get(config) ?? []), entry]);
    }
  }
  return { images: images.entries, index, byConfig };
}

/** Children of one index that are looked at: no image has more platforms. */
const maxChildren = 100;

/** Of an image or of the images of an index; none for what is missing or malformed: that is shown when it is asked for. */
async function configDigests(
  archive: ScannedArchive,
  descriptor: Descriptor,
  isChild = false,
): Promise<readonly Digest[]> {
  const manifest = await readLayoutManifest(archive, descriptor);
  if (manifest?.kind === 'image') return [manifest.config.digest];
  if (manifest?.kind !== 'index' || isChild) return [];
  const found: Digest[] = [];
  for (const child of manifest.manifests.slice(0, maxChildren)) {
    found.push(...(await configDigests(archive, child, true)));
  }
  return found;
}

async function readLayoutManifest(
  archive: ScannedArchive,
  { digest, mediaType }: Descriptor,
): Promise<Manifest | undefined> {
  const blob = layoutBlob(archive, digest);
  if (blob === undefined || blobSize(blob) > maxManifestBytes || !('offset' in blob)) return undefined;
  const bytes = Buffer.alloc(blob.size);
  await readExactly(archive.file, bytes, blob.offset, blob.size);
  try {
    return parseManifest(bytes, mediaType);
  } catch (error) {
    if (isImgfsError(error)) return undefined;
    throw error;
  }
}
