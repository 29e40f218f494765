/** `export/oci.tar` and `export/docker.tar`. */
import type { ContentCache } from '../../content/content.js';
import { openImageArchive, planImageArchive } from '../../image/export/image-archive.js';
import type { Image } from '../../image/image.js';
import { SingleFlight } from '../../image/single-flight.js';
import type { TarPlan } from '../../store/archive/write/tar-plan.js';
import type { CallOptions } from '../../store/store.js';
import { defaultLifetimes } from '../lifetimes.js';
import type { FileNode, MaybePromise, NodeStat, OpenFile } from '../node.js';
import { fileStat } from '../nodes/answers.js';

export interface ImageArchiveFileOptions {
  readonly image: Image;
  readonly format: 'oci' | 'docker';
  readonly content: ContentCache;
  readonly mtimeNs: bigint;
  /** Of the image in the archive; default: the one it was found by. */
  readonly name?: string;
}

export class ImageArchiveFile implements FileNode {
  readonly type = 'file';
  readonly attrTtlMs = defaultLifetimes.immutableMs;
  readonly identity: string;
  readonly #options: ImageArchiveFileOptions;
  readonly #flight = new SingleFlight<TarPlan>();
  #plan: TarPlan | undefined;

  constructor(options: ImageArchiveFileOptions) {
    const { image, format, name } = options;
    this.#options = options;
    // The name it was found by is in the archive, and the platform in the docker one.
    this.identity = `export ${format} ${name ?? image.reference} ${image.peekLeaf()?.descriptor.digest ?? ''} ${image.descriptor.digest}`;
  }

  get statIsDear(): boolean {
    return this.#plan === undefined;
  }

  /** Reads the manifests the first time: they say what belongs to the archive. */
  stat(options: CallOptions): MaybePromise<NodeStat> {
    const { mtimeNs } = this.#options;
    const plan = this.#plan;
    if (plan !== undefined) return fileStat(plan.size, mtimeNs);
    return this.#load(options).then(({ size }) => fileStat(size, mtimeNs));
  }

  async open(options: CallOptions): Promise<OpenFile> {
    const { image, content } = this.#options;
    const archive = openImageArchive(await this.#load(options), image, content);
    return {
      keepCache: true,
      directIo: false,
      segments: {
        cover: async (range, signal, take) => archive.cover?.(range, take, { signal }),
      },
      read: (buffer, position, call) => archive.read(buffer, position, call),
      close: () => archive.close(),
    };
  }

  async #load(options: CallOptions): Promise<TarPlan> {
    const { image, format, content, name } = this.#options;
    this.#plan ??= await this.#flight.run('', options.signal, (signal) =>
      planImageArchive(image, format, content, { signal, ...(name === undefined ? {} : { name }) }),
    );
    return this.#plan;
  }
}
