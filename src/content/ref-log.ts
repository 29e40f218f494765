/**
 * Last known tag → descriptor, one log of JSON lines for each repository: `refs/<store>/<repository>.ndjson`.
 *
 * Appending a line is atomic and cheap, so processes share a log without locks; the last line of a tag counts.
 * A log that has become mostly history is written anew, and keeps the newest tags. Nothing is synced: what is lost
 * is asked for again. Every line is checked when it is read; what cannot be read says nothing.
 */
import { createHash, randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { createLogger } from '../observe/log.js';
import type { Descriptor } from '../oci/descriptor.js';
import { parseDescriptor } from '../oci/parse-descriptor.js';
import type { KnownRef, RefStore } from './content.js';
import { descriptorJson } from './descriptor-json.js';
import { removePath } from './file-io.js';

const log = createLogger('content');

/** Tags kept for a repository when its log is written anew: 3 MB of lines, for a tool that listed a million. */
const maxTags = 10_000;
/** A log longer than this is not ours, or 40 times due. */
const maxLogBytes = 128 << 20;
/** Logs kept in memory. */
const openLogs = 64;
/** The same answer need not be noted again within this time. */
const sameAnswerMs = 10_000;
/** Long names are cut to their hash: NAME_MAX is 255, and `.ndjson` has to fit. */
const maxEncodedName = 200;

/** A name as a file name: reversible where it is short, `~` and its hash where it is long. */
export function encodeName(name: string): string {
  const encoded = encodeURIComponent(name).replace(/[.!'()*~]/gu, (char) =>
    char === '.' ? '.' : `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  if (encoded.length > maxEncodedName) return `~${createHash('sha256').update(name).digest('hex')}`;
  if (encoded === '') return '%';
  return encoded.startsWith('.') ? `%2E${encoded.slice(1)}` : encoded;
}

interface Line {
  /** Only on the first line: the names in full. */
  readonly store?: string;
  readonly repository?: string;
  readonly tag?: string;
  readonly descriptor?: unknown;
  readonly at?: number;
}

interface Log {
  readonly tags: Map<string, KnownRef>;
  /** Bytes of the file that are in `tags`. */
  length: number;
  inode: number;
  lines: number;
}

function parseLine(text: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function knownRef(line: Line): KnownRef | undefined {
  if (typeof line.at !== 'number' || line.descriptor === undefined) return undefined;
  try {
    return { descriptor: parseDescriptor(line.descriptor, 'known tag'), at: line.at };
  } catch {
    return undefined;
  }
}

/** What is worth knowing of a descriptor without a network, as it is written. */
function essence(descriptor: Descriptor): Record<string, unknown> {
  const { annotations: _annotations, ...rest } = descriptor;
  return descriptorJson(rest);
}

export class RefLog implements RefStore {
  readonly #folder: string;
  readonly #logs = new LRUCache<string, Log>({ max: openLogs });
  /** Reads and writes of one log go one after the other. */
  readonly #tails = new Map<string, Promise<unknown>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  #path(storeId: string, repository: string): string {
    return join(this.#folder, encodeName(storeId), `${encodeName(repository)}.ndjson`);
  }

  #inTurn<T>(path: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(path) ?? Promise.resolve();
    const after = before.then(work, work);
    const tail = after
      .catch(() => undefined)
      .then(() => {
        if (this.#tails.get(path) === tail) this.#tails.delete(path);
      });
    this.#tails.set(path, tail);
    return after;
  }

  /** The log as it is now: only what others appended since is read. */
  async #load(path: string): Promise<Log> {
    const stat = await fs.stat(path).catch(() => undefined);
    const known = this.#logs.get(path);
    if (stat === undefined || !stat.isFile() || stat.size > maxLogBytes) {
      const empty: Log = { tags: new Map(), length: 0, inode: 0, lines: 0 };
      this.#logs.set(path, empty);
      return empty;
    }
    const usable = known !== undefined && known.inode === stat.ino && known.length <= stat.size;
    const current: Log = usable ? known : { tags: new Map(), length: 0, inode: stat.ino, lines: 0 };
    if (current.length < stat.size) await this.#readOn(path, current, stat.size);
    this.#logs.set(path, current);
    return current;
  }

  async #readOn(path: string, current: Log, size: number): Promise<void> {
    const handle = await fs.open(path, 'r');
    try {
      const bytes = Buffer.alloc(size - current.length);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, current.length);
      const text = bytes.toString('utf8', 0, bytesRead);
      // A line that is still being written is read next time.
      const whole = text.slice(0, text.lastIndexOf('\n') + 1);
      current.length += Buffer.byteLength(whole);
      for (const part of whole.split('\n')) apply(current, part);
    } finally {
      await handle.close();
    }
  }

  async get(storeId: string, repository: string, tag: string): Promise<KnownRef | undefined> {
    const path = this.#path(storeId, repository);
    return this.#inTurn(path, async () => (await this.#load(path)).tags.get(tag)).catch(() => undefined);
  }

  async set(storeId: string, repository: string, tag: string, descriptor: Descriptor): Promise<void> {
    const at = Date.now();
    await this.#append(storeId, repository, (current) => {
      const known = current.tags.get(tag);
      const same = known?.descriptor.digest === descriptor.digest && at - known.at < sameAnswerMs;
      return same ? undefined : { tag, descriptor: essence(descriptor), at };
    });
  }

  async delete(storeId: string, repository: string, tag: string): Promise<void> {
    await this.#append(storeId, repository, (current) => (current.tags.has(tag) ? { tag } : undefined));
  }

  /** Losing a line is no failure: the store is asked again. */
  async #append(storeId: string, repository: string, line: (log: Log) => Line | undefined): Promise<void> {
    const path = this.#path(storeId, repository);
    await this.#inTurn(path, async () => {
      const current = await this.#load(path);
      const made = line(current);
      if (made === undefined) return;
      await fs.mkdir(join(this.#folder, encodeName(storeId)), { recursive: true, mode: 0o700 });
      const first = current.length === 0 ? `${JSON.stringify({ store: storeId, repository })}\n` : '';
      await fs.appendFile(path, `${first}${JSON.stringify(made)}\n`, { mode: 0o600 });
      if (current.lines > 1000 + 4 * Math.min(current.tags.size, maxTags)) {
        await this.#writeAnew(path, storeId, repository);
      }
    }).catch((error: unknown) => log.debug('known tag could not be noted', { error: String(error) }));
  }

  async #writeAnew(path: string, storeId: string, repository: string): Promise<void> {
    const { tags } = await this.#load(path);
    const newest = [...tags].sort((a, b) => b[1].at - a[1].at).slice(0, maxTags);
    const lines = [
      { store: storeId, repository },
      ...newest.map(([tag, { descriptor, at }]) => ({ tag, descriptor: essence(descriptor), at })),
    ];
    const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      await fs.writeFile(temporary, lines.map((line) => `${JSON.stringify(line)}\n`).join(''), {
        mode: 0o600,
      });
      await fs.rename(temporary, path);
    } catch (error) {
      await removePath(temporary);
      throw error;
    }
    this.#logs.delete(path);
  }

  async repositories(storeId: string): Promise<readonly string[]> {
    const folder = join(this.#folder, encodeName(storeId));
    const names = await fs.readdir(folder).catch(() => []);
    const found = await Promise.all(
      names.filter((name) => name.endsWith('.ndjson')).map((name) => firstLine(join(folder, name))),
    );
    return found.flatMap((line) => (typeof line?.repository === 'string' ? [line.repository] : [])).sort();
  }

  async tags(storeId: string, repository: string): Promise<readonly string[]> {
    const path = this.#path(storeId, repository);
    const current = await this.#inTurn(path, () => this.#load(path)).catch(() => undefined);
    return [...(current?.tags.keys() ?? [])].sort();
  }

  async stores(): Promise<readonly string[]> {
    const folders = await fs.readdir(this.#folder).catch(() => []);
    const found = await Promise.all(folders.map((name) => this.#storeOf(join(this.#folder, name))));
    return found.filter((name) => name !== undefined).sort();
  }

  async #storeOf(folder: string): Promise<string | undefined> {
    for (const name of await fs.readdir(folder).catch(() => [])) {
      const line = name.endsWith('.ndjson') ? await firstLine(join(folder, name)) : undefined;
      if (typeof line?.store === 'string') return line.store;
    }
    return undefined;
  }
}

function apply(current: Log, text: string): void {
  if (text === '') return;
  current.lines += 1;
  const line = parseLine(text);
  if (typeof line?.tag !== 'string') return;
  const known = knownRef(line);
  // Newest last, so that the oldest go first when there are too many.
  current.tags.delete(line.tag);
  if (known !== undefined) current.tags.set(line.tag, known);
}

async function firstLine(path: string): Promise<Line | undefined> {
  try {
    const handle = await fs.open(path, 'r');
    try {
      // Two names of 255 and 4096 bytes fit.
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(16 << 10), 0, 16 << 10, 0);
      return parseLine(buffer.toString('utf8', 0, bytesRead).split('\n', 1)[0] ?? '');
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}
