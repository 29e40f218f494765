/**
 * Images of an engine on disk: an engine gives whole images only, as archives, so each is fetched once and read where
 * it lies. An image never changes under its id.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { digestHex, isDigest, type Digest } from '../../oci/digest.js';
import { openArchiveStore, type ArchiveStore } from '../archive/archive-store.js';
import { fileError, fsErrorCode } from '../file-error.js';
import { withLock } from '../layout/lock.js';
import type { CallOptions } from '../store.js';
import type { EngineApi } from './engine-api.js';

const exportHint =
  'read it again, which asks for it anew; the log of the engine says more (journalctl -u docker)';

/** Another process may be fetching the same image: 10 GB at 20 MB/s. */
const lockTimeoutMs = 10 * 60_000;

export class EngineExports {
  private readonly api: EngineApi;
  private readonly directory: string;
  private readonly opened = new Map<string, Promise<ArchiveStore>>();
  private readonly lifetime = new AbortController();

  constructor(api: EngineApi, directory: string) {
    this.api = api;
    this.directory = directory;
  }

  /**
   * The image of an id as an archive; fetched when it is not there. Fetching takes longer than one operation of a mount
   * may: it goes on when its caller has given up, and is there for the next one.
   */
  async open(id: string, options: CallOptions = {}): Promise<ArchiveStore> {
    let opening = this.opened.get(id);
    if (opening === undefined) {
      opening = this.openOnce(id, { signal: this.lifetime.signal });
      this.opened.set(id, opening);
      opening.catch(() => this.opened.delete(id));
    }
    return unlessAborted(opening, options.signal, `export image ${id}`);
  }

  /** The archive with a blob, among those that were fetched of these images. */
  async find(digest: Digest, ids: () => Promise<readonly string[]>): Promise<ArchiveStore | undefined> {
    const among = async (archives: readonly Promise<ArchiveStore>[]): Promise<ArchiveStore | undefined> => {
      for (const opening of archives) {
        const archive = await opening.catch(() => undefined);
        if (archive !== undefined && (await hasBlob(archive, digest))) return archive;
      }
      return undefined;
    };
    const found = await among([...this.opened.values()]);
    if (found !== undefined) return found;
    // Fetched by an earlier process.
    const more: Promise<ArchiveStore>[] = [];
    for (const id of await ids()) {
      if (!this.opened.has(id) && (await isThere(this.path(id)))) more.push(this.open(id));
    }
    return among(more);
  }

  /** Remove what was fetched of images that the engine has no more. */
  async collect(ids: readonly string[]): Promise<void> {
    const kept = new Set(ids.filter(isDigest).map((id) => `${digestHex(id)}.tar`));
    const names = await readdir(this.directory).catch(() => []);
    for (const name of names) {
      if (!/^[0-9a-f]{64,128}\.tar$/.test(name) || kept.has(name)) continue;
      await unlink(join(this.directory, name)).catch(() => undefined);
    }
  }

  async close(): Promise<void> {
    this.lifetime.abort();
    const archives = await Promise.allSettled(this.opened.values());
    this.opened.clear();
    for (const archive of archives) if (archive.status === 'fulfilled') await archive.value.close();
  }

  /** Ids become names of files. */
  private path(id: string): string {
    if (isDigest(id)) return join(this.directory, `${digestHex(id)}.tar`);
    throw new ImgfsError(
      'protocol',
      `docker-daemon ${this.api.socket}: ${JSON.stringify(id.slice(0, 100))} is no id`,
    );
  }

  private async openOnce(id: string, options: CallOptions): Promise<ArchiveStore> {
    const path = this.path(id);
    await mkdir(this.directory, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
      throw fileError(error, 'export image into', this.directory);
    });
    if (!(await isThere(path))) {
      const lock = {
        timeoutMs: lockTimeoutMs,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      };
      await withLock(`${path}.lock`, () => this.fetch(id, path, options), lock);
    }
    try {
      return await openArchiveStore('docker-archive', path, {}, options);
    } catch (error) {
      // An export that broke off looks like an archive that was cut.
      if (!isImgfsError(error, 'invalid-content')) throw error;
      await unlink(path).catch(() => undefined);
      throw new ImgfsError(
        'invalid-content',
        `export image ${id}: what the engine at ${this.api.socket} gave: ${error.message}`,
        {
          cause: error,
          hint: exportHint,
        },
      );
    }
  }

  private async fetch(id: string, path: string, options: CallOptions): Promise<void> {
    if (await isThere(path)) return;
    const temporary = join(this.directory, `.imgfs-${randomUUID()}`);
    try {
      const handle = await open(temporary, 'wx', 0o600);
      try {
        for await (const chunk of await this.api.save(id, options)) {
          for (let at = 0; at < chunk.length;) at += (await handle.write(chunk, at)).bytesWritten;
        }
      } finally {
        await handle.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      const name = fsErrorCode(error) ?? '';
      if (name.startsWith('UND_ERR') || name === 'ECONNRESET') {
        throw new ImgfsError(
          'unavailable',
          `export image ${id}: the engine at ${this.api.socket} broke off (${name})`,
          {
            cause: error,
            hint: exportHint,
          },
        );
      }
      throw fileError(error, 'export image into', path);
    }
  }
}

/** The same, but who has given up does not wait for it. @throws ImgfsError `interrupted`. */
async function unlessAborted<Result>(
  work: Promise<Result>,
  signal: AbortSignal | undefined,
  what: string,
): Promise<Result> {
  if (signal === undefined) return work;
  let give = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    give = () => {
      reject(
        new ImgfsError('interrupted', `${what}: given up; it goes on, try again`, { cause: signal.reason }),
      );
    };
  });
  if (signal.aborted) give();
  signal.addEventListener('abort', give, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', give);
  }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function hasBlob(archive: ArchiveStore, digest: Digest): Promise<boolean> {
  try {
    await archive.statBlob('', digest);
    return true;
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return false;
    throw error;
  }
}
