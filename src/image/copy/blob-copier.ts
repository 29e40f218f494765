/** The blobs of one copy: each once, a few at a time, asked for and mounted before a byte is sent. */
import { ifMissing } from '../../errors/if-missing.js';
import { isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, type Digest } from '../../oci/digest.js';
import { createLogger } from '../../observe/log.js';
import { isBlobStatter, type BlobUpload, type CallOptions } from '../../store/store.js';
import { smallBlobBytes } from '../put-bytes.js';
import { BlobTransfer } from './blob-transfer.js';
import type { CopyDestination, CopySource } from './copy-ends.js';
import type { BlobOutcome, CopyEvent } from './copy-event.js';

const log = createLogger('copy');

/** The stores retry requests themselves; this is for sessions and bodies that break. */
const maxAttempts = 4;

export interface BlobCopierOptions extends CallOptions {
  readonly parallel: number;
  readonly onEvent?: (event: CopyEvent) => void;
}

export class BlobCopier {
  readonly #source: CopySource;
  readonly #destination: CopyDestination;
  readonly #options: BlobCopierOptions;
  readonly #done = new Map<Digest, Promise<void>>();
  readonly #outcomes: Record<BlobOutcome, number> = { present: 0, mounted: 0, sent: 0 };
  #sentBytes = 0;

  constructor(source: CopySource, destination: CopyDestination, options: BlobCopierOptions) {
    this.#source = source;
    this.#destination = destination;
    this.#options = options;
  }

  result(): { readonly blobs: Readonly<Record<BlobOutcome, number>>; readonly sentBytes: number } {
    return { blobs: { ...this.#outcomes }, sentBytes: this.#sentBytes };
  }

  /** Resolves when the destination has them all. The first failure is thrown. */
  async copyAll(blobs: readonly Descriptor[]): Promise<void> {
    // Large ones first: the last to end decides.
    const queue = [...blobs].sort((a, b) => b.size - a.size);
    const worker = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) await this.#once(next);
    };
    await Promise.all(Array.from({ length: this.#options.parallel }, worker));
  }

  #once(descriptor: Descriptor): Promise<void> {
    const known = this.#done.get(descriptor.digest);
    if (known !== undefined) return known;
    const copying = this.#copy(descriptor);
    this.#done.set(descriptor.digest, copying);
    copying.catch(() => this.#done.delete(descriptor.digest));
    return copying;
  }

  async #copy(descriptor: Descriptor): Promise<void> {
    const { digest, size } = descriptor;
    this.#tell({ kind: 'blob-start', digest, size });
    const outcome = (await this.#isPresent(descriptor))
      ? 'present'
      : (await this.#isMounted(digest))
        ? 'mounted'
        : await this.#send(descriptor);
    this.#outcomes[outcome] += 1;
    this.#tell({ kind: 'blob-end', digest, size, outcome });
  }

  async #isPresent({ digest, size }: Descriptor): Promise<boolean> {
    const { store, repository } = this.#destination;
    if (!isBlobStatter(store)) return false;
    return (await ifMissing(store.statBlob(repository, digest, this.#call), undefined))?.size === size;
  }

  async #isMounted(digest: Digest): Promise<boolean> {
    const { store, repository } = this.#destination;
    if (store.id !== this.#source.store.id || repository === this.#source.repository) return false;
    return store.mountBlob(repository, this.#source.repository, digest, this.#call);
  }

  async #send(descriptor: Descriptor): Promise<'sent'> {
    const { store, repository } = this.#destination;
    const transfer = new BlobTransfer(this.#source, descriptor, (bytes) => {
      this.#sentBytes += bytes;
      this.#tell({ kind: 'blob-bytes', digest: descriptor.digest, bytes });
    });
    if (descriptor.size <= smallBlobBytes && store.putBlob !== undefined) {
      const bytes = await transfer.readAll(this.#call);
      try {
        await store.putBlob(repository, descriptor.digest, bytes, this.#call);
        return 'sent';
      } catch (error) {
        if (!isWorthAnother(error)) throw error;
      }
    }
    let upload: BlobUpload | undefined;
    for (let attempt = 1; ; attempt += 1) {
      try {
        upload ??= await store.startUpload(repository, {
          ...this.#call,
          size: descriptor.size,
          algorithm: digestAlgorithm(descriptor.digest),
        });
        await transfer.run(upload, this.#call);
        return 'sent';
      } catch (error) {
        const goesOn =
          attempt < maxAttempts && this.#options.signal?.aborted !== true && isWorthAnother(error);
        if (!goesOn) {
          await upload?.cancel({ signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
          throw error;
        }
        log.info('copy of a blob goes on', { digest: descriptor.digest, error: String(error) });
        upload = await this.#realign(upload, transfer);
      }
    }
  }

  /** Go on where the destination is, or begin again. */
  async #realign(upload: BlobUpload | undefined, transfer: BlobTransfer): Promise<BlobUpload | undefined> {
    try {
      transfer.position = (await upload?.status(this.#call)) ?? 0;
      return upload;
    } catch (error) {
      if (isImgfsError(error, 'interrupted')) throw error;
      await upload?.cancel(this.#call).catch(() => undefined);
      transfer.position = 0;
      return undefined;
    }
  }

  get #call(): CallOptions {
    const { signal } = this.#options;
    return signal === undefined ? {} : { signal };
  }

  #tell(event: CopyEvent): void {
    this.#options.onEvent?.(event);
  }
}

function isWorthAnother(error: unknown): boolean {
  return ['unavailable', 'timeout', 'stale', 'not-found', 'protocol', 'rate-limited'].some(
    (code) => isImgfsError(error) && error.code === code,
  );
}
