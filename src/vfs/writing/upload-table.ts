/** The uploads of each repository by name: those under way, and for a while those that are done. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Uploads, UploadPlace } from '../../image/upload/uploads.js';
import { UploadEntry } from './upload-entry.js';

/** Done uploads that are still shown, so that `user.oci.digest` can be read: 1 KB each. */
const maxDone = 1000;

export class UploadTable {
  readonly #uploads: Uploads;
  readonly #places = new Map<string, Map<string, UploadEntry>>();

  constructor(uploads: Uploads) {
    this.#uploads = uploads;
  }

  /** Uploads of a place, with those that came from an earlier process. */
  of(key: string, storeId: string, repository: string): ReadonlyMap<string, UploadEntry> {
    const known = this.#place(key);
    const shown = new Set(
      [...this.#places.values()].flatMap((place) => [...place.values()].map(({ writer }) => writer)),
    );
    for (const writer of this.#uploads.of(storeId, repository)) {
      if (shown.has(writer)) continue;
      // A layer of a directory that went with its process was `layers/<name>`.
      const name = writer.state.name.replaceAll('/', ':');
      const free = known.has(name) ? `${name}:${writer.state.id.slice(0, 8)}` : name;
      known.set(free, new UploadEntry(this.#uploads, writer));
    }
    return known;
  }

  /** Those that were begun here, without the ones from before. */
  begunIn(key: string): ReadonlyMap<string, UploadEntry> {
    return this.#places.get(key) ?? new Map<string, UploadEntry>();
  }

  /** Begin one; it takes the place of an earlier one of its name. */
  async start(key: string, name: string, place: UploadPlace): Promise<UploadEntry> {
    const before = this.#place(key).get(name);
    if (before !== undefined && before.isBusy)
      throw new ImgfsError('busy', `upload ${name}: it is being written`, { hint: 'wait, or rm it first' });
    const writer = await this.#uploads.start(place);
    if (before !== undefined && !before.isDone) await before.cancel();
    const entry = new UploadEntry(this.#uploads, writer);
    this.#place(key).delete(name);
    this.#place(key).set(name, entry);
    this.#forgetOldest();
    return entry;
  }

  /** Give it another name, in this place or another. */
  move(entry: UploadEntry, to: string, newName: string): void {
    for (const place of this.#places.values())
      for (const [name, each] of place) if (each === entry) place.delete(name);
    this.#place(to).set(newName, entry);
  }

  forget(key: string, name: string): void {
    this.#places.get(key)?.delete(name);
  }

  #place(key: string): Map<string, UploadEntry> {
    const known = this.#places.get(key) ?? new Map<string, UploadEntry>();
    this.#places.set(key, known);
    return known;
  }

  #forgetOldest(): void {
    const done = [...this.#places].flatMap(([key, place]) =>
      [...place].flatMap(([name, entry]) => (entry.isDone ? [{ key, name }] : [])),
    );
    for (const { key, name } of done.slice(0, Math.max(0, done.length - maxDone))) this.forget(key, name);
  }
}
