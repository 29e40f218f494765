/**
 * The spool: what is being uploaded, on disk beside the cache, one folder for each upload.
 *
 *     <cache>/uploads/<id>/data          the bytes so far
 *     <cache>/uploads/<id>/state.json    where they go and how far that is (spool-state.ts)
 *     <cache>/uploads/<id>/lock-…        the process that works on it (content/owner-lock.ts)
 *
 * A process that dies leaves its folders behind; another one that becomes their owner goes on with them.
 */
import { randomUUID } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile, syncFolder } from '../../content/durable.js';
import { isOwned, tryOwn, type OwnerLock } from '../../content/owner-lock.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import { fileError, fsErrorCode } from '../../store/file-error.js';
import { formatSpoolState, parseSpoolState, uploadIdPattern, type SpoolState } from './spool-state.js';
import { SpooledFile } from './spooled-file.js';

const log = createLogger('upload');

/** An upload that this process owns. */
export interface OwnedUpload {
  state: SpoolState;
  readonly file: SpooledFile;
  /** Write the state down; durable when it resolves. */
  save(state: SpoolState): Promise<void>;
  /** Close the file and let another process have it. */
  release(): Promise<void>;
  /** Close the file and remove everything. */
  remove(): Promise<void>;
}

export interface ListedUpload {
  readonly state: SpoolState;
  /** Some process works on it. */
  readonly owned: boolean;
  /** Bytes in the spool. */
  readonly size: number;
}

export class UploadSpool {
  readonly directory: string;

  /** `cacheDirectory`: the spool is a folder in it, made when it is needed. */
  constructor(cacheDirectory: string) {
    this.directory = join(cacheDirectory, 'uploads');
  }

  /** @throws ImgfsError `cache-full`, `denied`, `read-only-store`: what the disk says. */
  async create(
    facts: Pick<
      SpoolState,
      'storeId' | 'repository' | 'name' | 'expected' | 'manifest' | 'session' | 'archive'
    >,
  ): Promise<OwnedUpload> {
    const id = randomUUID();
    const folder = join(this.directory, id);
    try {
      const lock = await tryOwn(folder);
      if (lock === undefined) throw new ImgfsError('internal', `upload ${id}: a new folder has an owner`);
      const state: SpoolState = { id, startedAt: Date.now(), phase: 'open', ...facts };
      const file = await SpooledFile.create(join(folder, 'data'));
      await replaceFile(join(folder, 'state.json'), formatSpoolState(state));
      await syncFolder(this.directory);
      return owned(folder, state, file, lock);
    } catch (error) {
      await rm(folder, { recursive: true, force: true }).catch(() => undefined);
      throw fileError(error, 'start upload', folder);
    }
  }

  /** Every upload whose state can be read, oldest first. */
  async list(): Promise<readonly ListedUpload[]> {
    const listed: ListedUpload[] = [];
    for (const id of await this.#ids()) {
      const folder = join(this.directory, id);
      try {
        const state = await this.#read(id);
        const size = await SpooledFile.sizeOf(join(folder, 'data'));
        listed.push({ state, owned: await isOwned(folder), size });
      } catch (error) {
        log.warn('an upload in the spool cannot be read', { folder, error: String(error) });
      }
    }
    return listed.sort((a, b) => a.state.startedAt - b.state.startedAt);
  }

  /**
   * Take over an upload that nobody works on; undefined when somebody does.
   * @throws ImgfsError `not-found`, `invalid-content`.
   */
  async adopt(id: string): Promise<OwnedUpload | undefined> {
    if (!uploadIdPattern.test(id) || !(await this.#ids()).includes(id))
      throw new ImgfsError('not-found', `upload ${id}: not in the spool ${this.directory}`);
    const folder = join(this.directory, id);
    const lock = await tryOwn(folder);
    if (lock === undefined) return undefined;
    try {
      const state = await this.#read(id);
      return owned(folder, state, await SpooledFile.open(join(folder, 'data')), lock);
    } catch (error) {
      await lock.release();
      throw fileError(error, 'take over upload', folder, { missing: 'not-found' });
    }
  }

  async #read(id: string): Promise<SpoolState> {
    return parseSpoolState(await readFile(join(this.directory, id, 'state.json'), 'utf8'), id);
  }

  async #ids(): Promise<readonly string[]> {
    try {
      return (await readdir(this.directory)).filter((name) => uploadIdPattern.test(name));
    } catch (error) {
      if (fsErrorCode(error) === 'ENOENT') return [];
      throw fileError(error, 'list uploads', this.directory);
    }
  }
}

function owned(folder: string, state: SpoolState, file: SpooledFile, lock: OwnerLock): OwnedUpload {
  let saving: Promise<unknown> = Promise.resolve();
  let gone = false;
  const upload: OwnedUpload = {
    state,
    file,
    save: (state) => {
      upload.state = state;
      const done = saving.then(async () => {
        if (!gone) await replaceFile(join(folder, 'state.json'), formatSpoolState(state));
      });
      saving = done.catch(() => undefined);
      return done.catch((error: unknown) => {
        throw fileError(error, 'note upload', folder);
      });
    },
    release: async () => {
      await saving;
      await file.close();
      await lock.release();
    },
    remove: async () => {
      gone = true;
      await saving;
      await file.close();
      // The state goes last: until then, a process that died here left an upload that can be cancelled.
      await rm(join(folder, 'data'), { force: true }).catch(() => undefined);
      await rm(folder, { recursive: true, force: true }).catch(() => undefined);
      await lock.release();
    },
  };
  return upload;
}
