/**
 * A blob as a file, exactly as it is stored. One inode for each digest, wherever the blob shows up.
 *
 * Small ones are read and verified whole when they are opened: that is one request either way, and manifests and
 * configs are never served unverified. Large ones are read in ranges (DESIGN section 4, "Verified").
 */
import type { Backing, BlobReader, BlobSource } from '../../content/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { CallOptions } from '../../store/store.js';
import type { Caller, FileBacking } from '../file-system.js';
import type { NodeStat, NodeXattrs, OpenFile, XattrReader } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import type { WritableFile, WritableFileNode } from '../writable-node.js';
import { rewriteBlob } from '../writing/rewrite-blob.js';
import { fileStat } from './answers.js';
import { copyAt } from './bytes-file.js';

/** The bound of manifests and configs (oci/parse-manifest.ts), and half of the cache's largest fetch. */
const wholeReadBytes = 4 * 1024 * 1024;

export interface BlobFileOptions {
  readonly mtimeNs: bigint;
  /** Shown as `user.oci.title`. */
  readonly title?: string;
  /** The tag that this is the manifest of, by which it may be replaced. */
  readonly tag?: string;
}

export class BlobFile implements WritableFileNode {
  readonly type = 'file';
  readonly identity?: string;
  readonly version?: string;
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #source: BlobSource;
  readonly #options: BlobFileOptions;

  constructor(context: TreeContext, source: BlobSource, options: BlobFileOptions) {
    this.#context = context;
    this.#source = source;
    this.#options = options;
    // What may be replaced is a file of its own: others that have its content now must not change with it.
    if (options.tag !== undefined && context.writing?.rules.allowOverwrite === true)
      this.version = `tagged ${source.descriptor.digest}`;
    else this.identity = `blob ${source.descriptor.digest}`;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  /** What it is, and where it can be had. */
  get source(): BlobSource {
    return this.#source;
  }

  /** Writing what is there already is fine; a tag's manifest may be replaced by another one of its kind. */
  openForWriting(_flags: number, caller: Caller): Promise<WritableFile> {
    return rewriteBlob(this.#context, this.#source, this.#options.tag, () => this.stat(), caller);
  }

  stat(): NodeStat {
    return fileStat(this.#source.descriptor.size, this.#options.mtimeNs);
  }

  xattrs(): NodeXattrs {
    const { descriptor } = this.#source;
    const isVerified = async (): Promise<string> =>
      (await this.#context.content.status(descriptor.digest)).verified ? 'yes' : 'no';
    return new Map<string, XattrReader>([
      ...descriptorXattrs(descriptor),
      ['user.oci.title', () => this.#options.title],
      ['user.imgfs.cached', async () => String(await cachedPercent(this.#context, [descriptor]))],
      ['user.imgfs.verified', isVerified],
    ]);
  }

  async open(options: CallOptions): Promise<OpenFile> {
    const { content } = this.#context;
    const { size } = this.#source.descriptor;
    const small = size <= wholeReadBytes;
    const verified = small
      ? await content.readAll(this.#source, { ...options, maxBytes: wholeReadBytes })
      : undefined;
    const reader = await content.open(this.#source, options);
    const backing = reader.backing();
    // 10,000 open manifests must not lie in memory when they lie on disk.
    const whole = backing?.complete === true ? undefined : verified;
    return {
      keepCache: !this.#context.suspects.delete(this.#source.descriptor.digest),
      directIo: false,
      ...(backing === undefined || (small && !backing.complete)
        ? {}
        : { backing: fileBacking(reader, backing) }),
      read: (buffer, position, call) => {
        if (whole !== undefined) return copyAt(whole, buffer, position);
        const length = Math.max(0, Math.min(buffer.byteLength, size - position));
        return length === 0 ? 0 : reader.read(buffer, 0, length, position, call);
      },
      close: () => reader.close(),
    };
  }
}

function fileBacking(reader: BlobReader, backing: Backing): FileBacking {
  return {
    fd: backing.fd,
    baseOffset: 0,
    complete: () => backing.complete,
    present: () => backing.present(),
    presentUntil: (position) => backing.presentUntil(position),
    fill: (range, signal) => reader.fill(range, { signal }),
  };
}

/** What a descriptor says, as extended attributes. */
export function descriptorXattrs(descriptor: Descriptor): readonly (readonly [string, XattrReader])[] {
  return [
    ['user.oci.digest', () => descriptor.digest],
    ['user.oci.mediatype', () => (descriptor.mediaType === '' ? undefined : descriptor.mediaType)],
    ['user.oci.size', () => String(descriptor.size)],
  ];
}

/** How much of some blobs is in the cache, in whole percent, rounded down; nothing at all counts as all. */
export async function cachedPercent(
  context: TreeContext,
  descriptors: readonly Descriptor[],
): Promise<number> {
  let present = 0;
  let total = 0;
  for (const { digest, size } of descriptors) {
    const status = await context.content.status(digest);
    present += status.state === 'complete' ? size : Math.min(status.presentBytes, size);
    total += size;
  }
  return total === 0 ? 100 : Math.floor((100 * present) / total);
}
