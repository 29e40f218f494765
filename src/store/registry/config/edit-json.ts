/**
 * Changing a JSON file that other programs read and write too: the whole new text is written beside it and renamed
 * over it, with mode 0600, so that a reader sees the old file or the new one and a crash leaves one of the two.
 * Fields that are not ours stay as they are.
 */
import { randomBytes } from 'node:crypto';
import { open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isObject, parseObject } from './auth-document.js';
import { makeFolder } from './make-folder.js';
import { readConfigFile, sameStamp, stampFile, unusable, type FileStamp } from './read-file.js';

export type JsonObject = Record<string, unknown>;

/** Another program wrote at the same moment this often in a row: something is wrong there. */
const maxAttempts = 5;

/**
 * Let `edit` change the parsed file (`{}` when there is none), and write it. `edit` may run again when another
 * program changed the file meanwhile. Returns false when `edit` returned false: nothing is written then.
 * @throws ImgfsError `config` when the file is malformed or cannot be written.
 */
export async function editJsonFile(path: string, edit: (root: JsonObject) => boolean): Promise<boolean> {
  const target = await followLinks(path);
  for (let attempt = 1; ; attempt += 1) {
    const file = await readConfigFile(target);
    const text = file?.bytes.toString('utf8') ?? '';
    const root = text.trim() === '' ? {} : parseObject(text, path);
    if (!edit(root)) return false;
    // Tabs, as the peers write it: a login then changes one line of the file.
    const written = await replaceFile(target, `${JSON.stringify(root, undefined, '\t')}\n`, file?.stamp);
    if (written) return true;
    if (attempt === maxAttempts)
      throw unusable(path, 'other programs keep changing it', undefined, 'try again');
  }
}

/** The object under a key of the file, made when it is missing. @throws ImgfsError `config` when it is none. */
export function childObject(root: JsonObject, name: string, path: string): JsonObject {
  const value = Object.hasOwn(root, name) ? root[name] : undefined;
  if (isObject(value)) return value;
  if (value !== undefined && value !== null) throw unusable(path, `${name} is not an object`);
  const made: JsonObject = {};
  root[name] = made;
  return made;
}

/** Dotfiles are often links into a repository: the link stays, the file it means is replaced. */
async function followLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw unusable(path, (error as Error).message, error);
    return await makePlace(path);
  }
}

async function makePlace(path: string): Promise<string> {
  try {
    await makeFolder(dirname(path));
    return join(await realpath(dirname(path)), basename(path));
  } catch (error) {
    throw unusable(path, `its folder cannot be made: ${(error as Error).message}`, error);
  }
}

/** False when the file is no longer the one that was read. */
async function replaceFile(path: string, text: string, before: FileStamp | undefined): Promise<boolean> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    await writeDurably(temporary, text, path);
    const now = await stampFile(path);
    const unchanged = now === undefined || before === undefined ? now === before : sameStamp(now, before);
    if (!unchanged) {
      await unlink(temporary);
      return false;
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw unusable(path, `it cannot be written: ${(error as Error).message}`, error);
  }
}

async function writeDurably(temporary: string, text: string, replaces: string): Promise<void> {
  const file = await open(temporary, 'wx', 0o600);
  try {
    // Under sudo the file may be another user's, who has to be able to read it afterwards.
    const owner = await stat(replaces).catch(() => undefined);
    if (owner !== undefined && process.getuid?.() === 0) await file.chown(owner.uid, owner.gid);
    await file.writeFile(text, 'utf8');
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
