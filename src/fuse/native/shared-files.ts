/** Files that many inodes lie in, by the numbers under which the addon knows them. */
import type { SharedFile, SharedFileReader } from '../../content/shared-file.js';
import type { ByteRange } from '../../store/store.js';
import type { AddonSession } from './addon-fuse.js';

/** Pairs of start and end. */
export function flatRanges(ranges: readonly ByteRange[]): Float64Array {
  const flat = new Float64Array(ranges.length * 2);
  ranges.forEach(({ start, end }, index) => flat.set([start, end], index * 2));
  return flat;
}

export class SharedFiles {
  readonly #session: () => AddonSession;
  readonly #known = new Map<SharedFile, { readonly number: number; readonly detach: () => void }>();
  #last = 0;

  constructor(session: () => AddonSession) {
    this.#session = session;
  }

  /** The number of the file, which the addon learns about now if it does not know it; 0 when it cannot take it. */
  readonly numberOf = (file: SharedFile): number => {
    const known = this.#known.get(file);
    if (known !== undefined) return known.number;
    const number = this.#last + 1;
    if (!this.#session().putFile(number, file.fd, file.size, flatRanges(file.present()))) return 0;
    this.#last = number;
    this.#known.set(file, { number, detach: file.attach(this.#reader(file, number)) });
    return number;
  };

  /** The mount is gone. */
  forgetAll(): void {
    for (const { detach } of this.#known.values()) detach();
    this.#known.clear();
  }

  #reader(file: SharedFile, number: number): SharedFileReader {
    const session = this.#session();
    return {
      added: (range) => session.addRanges(number, flatRanges([range])),
      takeBack: (ranges) => {
        const mayGo = new Uint8Array(ranges.length);
        session.takeBack(number, flatRanges(ranges), false, mayGo);
        return Array.from(mayGo, (byte) => byte === 1);
      },
      forgotten: () =>
        session.takeBack(number, flatRanges([{ start: 0, end: file.size }]), true, new Uint8Array(1)),
      closed: () => {
        this.#known.delete(file);
        session.dropFile(number);
      },
    };
  }
}
