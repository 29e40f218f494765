/**
 * An image as an OCI or docker archive: manifests are read to know what belongs to it, blobs only where the archive is.
 * Each blob is had through the cache, verified as everything that is read from it.
 */
import { LRUCache } from 'lru-cache';
import type { BlobReader, ContentCache } from '../../content/content.js';
import type { FileSegment, TakeSegments } from '../../content/file-segment.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { maxManifestBytes } from '../../oci/parse-manifest.js';
import { planImages } from '../../store/archive/write/plan-images.js';
import type { MemberBlob, PlanSegment, TarPlan } from '../../store/archive/write/tar-plan.js';
import { parseFullName, type ImageName } from '../../store/image-name.js';
import type { ByteRange, CallOptions } from '../../store/store.js';
import { collectImage } from '../archive/collect-image.js';
import type { Image } from '../image.js';
import type { ExportedArchive } from './exported-archive.js';

/** Blobs that stay open for one reader: it goes through them in order, and back a little. */
const maxOpenBlobs = 4;

/** How an image is named in its archive. */
export interface ImageArchiveOptions extends CallOptions {
  /** `registry.test/app:v1`. Default: the name it was found by. */
  readonly name?: string;
}

/**
 * Lay out an archive of an image. `oci` has all that the name stands for, `docker` the image of the chosen platform, in
 * the form of Docker 25 that older engines load too.
 * @throws ImgfsError `unsupported` for artifacts as `docker`; `name-invalid`; what reading manifests throws.
 */
export async function planImageArchive(
  image: Image,
  format: 'oci' | 'docker',
  content: ContentCache,
  options: ImageArchiveOptions = {},
): Promise<TarPlan> {
  const top = format === 'docker' ? await image.leaf(options) : image;
  const parts = {
    readManifest: (descriptor: typeof top.descriptor, call: CallOptions) =>
      content.readAll(image.source(descriptor), { ...signal(call), maxBytes: maxManifestBytes }),
    openBlob: (descriptor: typeof top.descriptor, range: { start: number; end: number }, call: CallOptions) =>
      image.store.fetch(image.repository, descriptor, { ...call, range }),
  };
  const collected = await collectImage(top.descriptor, namesOf(image, options.name), parts, {
    ...signal(options),
    sparse: true,
  });
  if (format === 'docker' && collected.loadable === undefined)
    throw new ImgfsError('unsupported', `export ${image.reference}: no image that docker load takes`, {
      reference: image.reference,
      hint: 'export it as OCI archive, which holds anything',
    });
  return planImages(format === 'oci' ? 'oci-archive' : 'docker-archive', [collected]);
}

function namesOf(image: Image, name: string | undefined): readonly ImageName[] {
  if (name !== undefined) {
    const given = parseFullName(name);
    if (given !== undefined) return [given];
    throw new ImgfsError(
      'name-invalid',
      `export: ${JSON.stringify(name.slice(0, 300))} is not an image name`,
    );
  }
  if (image.tag === undefined) return [];
  const isRegistry = image.store.transport === 'docker';
  return [
    { repository: isRegistry ? `${image.host}/${image.repository}` : image.repository, tag: image.tag },
  ];
}

const signal = (options: CallOptions): CallOptions =>
  options.signal === undefined ? {} : { signal: options.signal };

/** A planned archive, read through the cache. */
export function openImageArchive(plan: TarPlan, image: Image, content: ContentCache): ExportedArchive {
  return new PlannedArchive(plan, image, content);
}

class PlannedArchive implements ExportedArchive {
  readonly #plan: TarPlan;
  readonly #image: Image;
  readonly #content: ContentCache;
  readonly #closing = new Set<Promise<void>>();
  readonly #readers: LRUCache<Digest, { reader: Promise<BlobReader>; users: number; gone: boolean }>;

  constructor(plan: TarPlan, image: Image, content: ContentCache) {
    this.#plan = plan;
    this.#image = image;
    this.#content = content;
    this.#readers = new LRUCache({
      max: maxOpenBlobs,
      dispose: (open) => {
        open.gone = true;
        if (open.users === 0) this.#letGo(open.reader);
      },
    });
  }

  get size(): number {
    return this.#plan.size;
  }

  async read(buffer: Uint8Array, position: number, options: CallOptions = {}): Promise<number> {
    const { segments } = this.#plan;
    const end = Math.min(this.size, position + buffer.length);
    let at = position;
    for (let index = this.#segmentAt(position); at < end; index += 1) {
      const segment = segments[index];
      if (segment === undefined) break;
      const until = Math.min(end, segment.end);
      const part = buffer.subarray(at - position, until - position);
      const from = at - segment.start;
      if (segment.content === undefined) part.fill(0);
      else if (segment.content instanceof Uint8Array)
        part.set(segment.content.subarray(from, from + part.length));
      else await this.#readBlob(segment.content, part, from, options);
      at = until;
    }
    return Math.max(0, at - position);
  }

  /** Whole members, also where the range has a part of one: whoever reads on has them told once. */
  async cover(range: ByteRange, take: TakeSegments, options: CallOptions = {}): Promise<void> {
    const wanted: PlanSegment[] = [];
    for (let index = this.#segmentAt(range.start); ; index += 1) {
      const segment = this.#plan.segments[index];
      if (segment === undefined || segment.start >= range.end) break;
      wanted.push(segment);
    }
    await this.#coverNext(wanted, [], take, options);
  }

  /** Segment after segment, each inside the last: all readers are in use, and so open, while they are given out. */
  async #coverNext(
    [segment, ...others]: readonly PlanSegment[],
    done: readonly FileSegment[],
    take: TakeSegments,
    options: CallOptions,
  ): Promise<void> {
    if (segment === undefined) return take(done);
    const { start, end, content } = segment;
    if (content === undefined || content instanceof Uint8Array) {
      const bytes = content ?? new Uint8Array(end - start);
      return this.#coverNext(others, [...done, { start, end, bytes }], take, options);
    }
    await this.#withReader(content, async (reader) => {
      const backing = reader.backing();
      if (backing?.complete !== true) return;
      const file = { start, end, fd: backing.fd, offset: 0 };
      await this.#coverNext(others, [...done, file], take, options);
    });
  }

  async close(): Promise<void> {
    this.#readers.clear();
    await Promise.allSettled(this.#closing);
  }

  async #readBlob(blob: MemberBlob, part: Uint8Array, position: number, options: CallOptions): Promise<void> {
    const { digest, size } = blob;
    await this.#withReader(blob, async (reader) => {
      for (let done = 0; done < part.length;) {
        const length = await reader.read(part, done, part.length - done, position + done, options);
        if (length === 0)
          throw new ImgfsError('protocol', `export: blob ${digest} ends at ${position + done} of ${size}`, {
            digest,
          });
        done += length;
      }
    });
  }

  /** A reader stays open while it is used, and as one of the last few. */
  async #withReader({ digest, size }: MemberBlob, use: (reader: BlobReader) => Promise<void>): Promise<void> {
    const descriptor = { mediaType: mediaTypes.octetStream, digest, size };
    const open = this.#readers.get(digest) ?? {
      reader: this.#content.open(this.#image.source(descriptor)),
      users: 0,
      gone: false,
    };
    if (!open.gone) this.#readers.set(digest, open);
    open.users += 1;
    try {
      await use(await open.reader);
    } finally {
      open.users -= 1;
      if (open.gone && open.users === 0) this.#letGo(open.reader);
    }
  }

  #letGo(reader: Promise<BlobReader>): void {
    const closing = reader.then((opened) => opened.close()).catch(() => undefined);
    this.#closing.add(closing);
    void closing.finally(() => this.#closing.delete(closing));
  }

  #segmentAt(position: number): number {
    const { segments } = this.#plan;
    let [low, high] = [0, Math.max(0, segments.length - 1)];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((segments[middle]?.end ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
