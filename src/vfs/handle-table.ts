/** Open files or directories by number. Numbers are never used twice. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { FileHandle } from './file-system.js';

export class HandleTable<Open> {
  readonly #open = new Map<FileHandle, Open>();
  #next = 1;

  get size(): number {
    return this.#open.size;
  }

  add(open: Open): FileHandle {
    const handle = this.#next as FileHandle;
    this.#next += 1;
    this.#open.set(handle, open);
    return handle;
  }

  /** @throws ImgfsError `bad-handle`. */
  get(handle: FileHandle): Open {
    const open = this.#open.get(handle);
    if (open !== undefined) return open;
    throw new ImgfsError('bad-handle', `handle ${handle} is not open`);
  }

  /** Take it out; undefined when it was not open. */
  remove(handle: FileHandle): Open | undefined {
    const open = this.#open.get(handle);
    this.#open.delete(handle);
    return open;
  }

  /** Take all out. */
  drain(): readonly Open[] {
    const all = [...this.#open.values()];
    this.#open.clear();
    return all;
  }
}
