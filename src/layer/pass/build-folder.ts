/**
 * Where an index is made: `<cache>/index/<key>.build/`, owned by one process at a time. It outlives a pass that was
 * interrupted, so that the next one goes on.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { tryOwn, type OwnerLock } from '../../content/owner-lock.js';

export const buildSuffix = '.build';

export class BuildFolder {
  readonly path: string;
  private readonly lock: OwnerLock;

  private constructor(path: string, lock: OwnerLock) {
    this.path = path;
    this.lock = lock;
  }

  /** Undefined when another process makes the same index, or the folder cannot be made. */
  static async claim(indexFolder: string, key: string): Promise<BuildFolder | undefined> {
    const path = join(indexFolder, `${key}${buildSuffix}`);
    try {
      await mkdir(path, { recursive: true, mode: 0o700 });
      const lock = await tryOwn(path);
      return lock === undefined ? undefined : new BuildFolder(path, lock);
    } catch {
      return undefined;
    }
  }

  get windows(): string {
    return join(this.path, 'windows');
  }

  get journal(): string {
    return join(this.path, 'journal');
  }

  /** Leave it for a later pass. */
  async release(): Promise<void> {
    await this.lock.release();
  }

  /** The index is made, or cannot be: remove everything. */
  async remove(): Promise<void> {
    await this.lock.release();
    await rm(this.path, { recursive: true, force: true });
  }
}
