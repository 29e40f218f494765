/** Files on disk that many files of the tree lie in, told to who reads them without asking: decoded layers. */
import type { ByteRange } from '../store/store.js';

/** Who reads a shared file by itself. Called within one turn of the event loop; must not throw. */
export interface SharedFileReader {
  /** The range is there now, and was checked. */
  added(range: ByteRange): void;
  /**
   * The ranges are to be given back to the disk. For each: whether nobody is reading there; nobody will from now on
   * then, until it is `added` again.
   */
  takeBack(ranges: readonly ByteRange[]): readonly boolean[];
  /** Nothing of it is believed any more: who begins to read asks. Who has begun keeps what it has. */
  forgotten(): void;
  /** The descriptor is about to be closed. */
  closed(): void;
}

/** A file of which parts may be read without asking. */
export interface SharedFile {
  /** Open descriptor; lives until readers are told `closed`. */
  readonly fd: number;
  /** Length when all of it is there, in bytes. */
  readonly size: number;
  /** Ranges that are there and checked, now: sorted and disjoint. */
  present(): readonly ByteRange[];
  /** Tell a reader what changes from now on, until the answer is called. */
  attach(reader: SharedFileReader): () => void;
}

/** Where a file of the tree lies, all of it in one piece. */
export interface FilePlace {
  readonly file: SharedFile;
  /** Of its first byte. */
  readonly offset: number;
}
