/**
 * The map of a partial blob on disk: which ranges of the sparse file beside it are there.
 *
 * Text, one record a line, each with its own CRC, only ever appended to, and always after the bytes it speaks of
 * were written:
 *
 *     {"version":1,"digest":"sha256:…","size":1073741824,"boot":"0f02c957"}
 *     + 0 4194304 9a3bd2c1          these bytes were written
 *     = 4194304 1700000000000 …     everything above was synced; the data file looked like this
 *
 * After kill -9 the page cache still has what was written: all records count. After a power loss only what
 * stands above a `=` counts. A data file that changed after its last record was touched by somebody else, and
 * nothing counts. Ranges of a partial blob are never more than hints anyway: the whole is hashed from disk before
 * it is called complete.
 */
import { constants, promises as fs, type Stats } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { Digest } from '../oci/digest.js';
import { Extents } from './extents.js';
import { closeQuietly, openFile, statFile, writeFully } from './file-io.js';
import { ownIdentity } from './process-identity.js';

/** A journal of 10 GB in 256 KiB windows has 40,000 records of 40 bytes; ten times that is not ours. */
const maxJournalBytes = 16 << 20;

/** The data file may be newer than the journal by what is written between two records. */
const writeLagMs = 10_000;

export interface JournalKey {
  readonly digest: Digest;
  /** Size of the whole blob in bytes. */
  readonly size: number;
}

const withCrc = (record: string): string => `${record} ${crc32(record).toString(16)}\n`;

function parseRecord(line: string): readonly [string, number, number] | undefined {
  const cut = line.lastIndexOf(' ');
  const record = line.slice(0, cut);
  if (cut < 0 || crc32(record).toString(16) !== line.slice(cut + 1)) return undefined;
  const [kind, first, second] = record.split(' ');
  return kind === undefined ? undefined : [kind, Number(first), Number(second)];
}

interface Header {
  readonly version: number;
  readonly digest: string;
  readonly size: number;
  readonly boot: string;
}

function parseHeader(line: string): Header | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Header) : undefined;
  } catch {
    return undefined;
  }
}

/** What a journal says of a data file in that state; empty when it cannot be trusted. */
export function replayJournal(
  text: string,
  key: JournalKey,
  data: Pick<Stats, 'size' | 'mtimeMs'>,
  journalMtimeMs: number,
): Extents {
  const none = new Extents();
  const lines = text.split('\n');
  const header = parseHeader(lines[0] ?? '');
  if (header?.version !== 1 || header.digest !== key.digest || header.size !== key.size) return none;
  if (data.size !== key.size) return none;
  const sameBoot = header.boot === ownIdentity().boot;
  let written = new Extents();
  let synced = new Extents();
  let clean: readonly [string, number, number] | undefined;
  for (const line of lines.slice(1)) {
    const record = parseRecord(line);
    if (record === undefined) break;
    const [kind, first, second] = record;
    if (kind === '+' && first >= 0 && first < second && second <= key.size) {
      written.add(first, second);
      clean = undefined;
    } else if (kind === '=') {
      clean = record;
      synced = copyOf(written);
    } else break;
  }
  if (clean !== undefined) return clean[1] === data.size && clean[2] === data.mtimeMs ? written : none;
  if (!sameBoot) return synced;
  written = data.mtimeMs <= journalMtimeMs + writeLagMs ? written : none;
  return written;
}

function copyOf(extents: Extents): Extents {
  const copy = new Extents();
  for (const { start, end } of extents.ranges()) copy.add(start, end);
  return copy;
}

/** Read the journal at `path` for the data file in that state. Never fails: what is unreadable says nothing. */
export async function readJournal(
  path: string,
  key: JournalKey,
  data: Pick<Stats, 'size' | 'mtimeMs'>,
): Promise<Extents> {
  try {
    const stat = await fs.stat(path);
    if (!stat.isFile() || stat.size > maxJournalBytes) return new Extents();
    return replayJournal(await fs.readFile(path, 'utf8'), key, data, stat.mtimeMs);
  } catch {
    return new Extents();
  }
}

/** The journal of a partial blob that this process owns, open for appending. */
export class ExtentJournal {
  readonly #fd: number;
  #pending = new Extents();
  /** Appends go one after the other: each record is whole, and `=` stands below what it covers. */
  #tail: Promise<void> = Promise.resolve();
  #bytesSinceSync = 0;
  #closed = false;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Start a new journal at `path` that begins with `extents`, in place of what is there. */
  static async create(path: string, key: JournalKey, extents: Extents): Promise<ExtentJournal> {
    const header = JSON.stringify({ version: 1, ...key, boot: ownIdentity().boot });
    const records = extents.ranges().map(({ start, end }) => withCrc(`+ ${start} ${end}`));
    const temporary = `${path}.new`;
    const fd = await openFile(
      temporary,
      constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      await writeFully(fd, [Buffer.from(`${header}\n${records.join('')}`)], null);
      await fs.rename(temporary, path);
    } catch (error) {
      await closeQuietly(fd);
      throw error;
    }
    return new ExtentJournal(fd);
  }

  /** Bytes noted since the last sync record. */
  get unsyncedBytes(): number {
    return this.#bytesSinceSync;
  }

  /** Note that bytes were written. They reach the journal with the next `flush`. */
  note(start: number, end: number): void {
    this.#bytesSinceSync += this.#pending.add(start, end);
  }

  /** Append what was noted. A failure loses only the memory of these ranges, so it is not one. */
  flush(): Promise<void> {
    if (this.#pending.count === 0) return this.#tail;
    const text = this.#pending
      .ranges()
      .map(({ start, end }) => withCrc(`+ ${start} ${end}`))
      .join('');
    this.#pending = new Extents();
    return this.#append(text);
  }

  /** Append that the data file was synced, after the caller synced it. */
  async markSynced(dataFd: number): Promise<void> {
    await this.flush();
    const { size, mtimeMs } = await statFile(dataFd);
    this.#bytesSinceSync = 0;
    await this.#append(withCrc(`= ${size} ${mtimeMs}`));
  }

  #append(text: string): Promise<void> {
    // A closed descriptor may be another file by now.
    if (this.#closed) return this.#tail;
    this.#tail = this.#tail
      .then(() => writeFully(this.#fd, [Buffer.from(text)], null))
      .catch(() => undefined);
    return this.#tail;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#tail;
    await closeQuietly(this.#fd);
  }
}
