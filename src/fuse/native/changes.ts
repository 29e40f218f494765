/** Handlers of the jobs that change something: arguments out of the job and its payload, the answer back. */
import { constants } from 'node:fs';
import {
  type AttributeChange,
  type Entry,
  type FileHandle,
  type Inode,
  type WritableFileSystem,
} from '../../vfs/file-system.js';
import type { Name } from '../../vfs/name.js';
import { delivery, openFlags, type AddonSession } from './addon-fuse.js';
import type { BackedFiles } from './backed-files.js';
import { jobKind, type Job, type JobHandler } from './job.js';
import type { EntryPacker } from './packed-entry.js';

/** FATTR_ bits of SETATTR (linux/fuse.h). */
const setFlags = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  atime: 16,
  mtime: 32,
  atimeNow: 128,
  mtimeNow: 256,
} as const;

const setattrPayloadBytes = 48;
const copyPayloadBytes = 24;

/** Buffers for write data that are kept for the next write: what two parallel writers use, at 1 MiB each. */
const keptBuffers = 4;

function attributeChange(valid: number, view: DataView): AttributeChange {
  const has = (flag: number): boolean => (valid & flag) !== 0;
  const number = (at: number): number => view.getFloat64(at, true);
  const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n;
  return {
    ...(has(setFlags.size) ? { size: number(0) } : {}),
    ...(has(setFlags.mode) ? { mode: number(8) } : {}),
    ...(has(setFlags.uid) ? { uid: number(16) } : {}),
    ...(has(setFlags.gid) ? { gid: number(24) } : {}),
    ...(has(setFlags.atime)
      ? { atimeNs: has(setFlags.atimeNow) ? nowNs() : view.getBigInt64(32, true) }
      : {}),
    ...(has(setFlags.mtime)
      ? { mtimeNs: has(setFlags.mtimeNow) ? nowNs() : view.getBigInt64(40, true) }
      : {}),
  };
}

/** Handlers by job kind, for a file system that takes writes. */
export function changeHandlers(
  fileSystem: WritableFileSystem,
  session: () => AddonSession,
  packed: EntryPacker,
  files: BackedFiles,
): (readonly [number, JobHandler])[] {
  const pool: Buffer[] = [];
  const payload = (job: Job, bytes: number): DataView => {
    const buffer = new Uint8Array(bytes);
    session().takePayload(job.id, buffer);
    return new DataView(buffer.buffer);
  };
  /** The two names of a job: `c` is the length of the first. */
  const names = (job: Job): [Name, Name] => [job.name.slice(0, job.c) as Name, job.name.slice(job.c) as Name];
  const answerDone =
    (work: (job: Job) => Promise<void>): JobHandler =>
    async (job) => {
      await work(job);
      session().replyError(job.id, 0);
    };
  const answerEntry = (job: Job, entry: Entry): void => {
    packed.setAttributes(entry.attributes, entry);
    if (!session().replyEntry(job.id)) fileSystem.forget(entry.attributes.inode, 1);
  };

  const create: JobHandler = async (job) => {
    const { entry, opened } = await fileSystem.create(job, job.inode as Inode, job.name, job.b, job.a);
    packed.setAttributes(entry.attributes, entry);
    files.add(opened.handle);
    const flags = (opened.keepCache ? openFlags.keepCache : 0) | (opened.directIo ? openFlags.directIo : 0);
    if (session().replyCreate(job.id, opened.handle, flags) === delivery.delivered) return;
    files.release(opened.handle);
    fileSystem.forget(entry.attributes.inode, 1);
  };

  const write: JobHandler = async (job) => {
    let buffer = pool.pop();
    if (buffer === undefined || buffer.length < job.c)
      buffer = Buffer.allocUnsafeSlow(Math.max(job.c, 131_072));
    const length = session().takePayload(job.id, buffer);
    if (length !== job.c) return; // Answered already: the caller was interrupted.
    const taken = await fileSystem.write(job, job.a as FileHandle, buffer.subarray(0, length), job.b);
    session().replyCount(job.id, taken);
    // Only when it was taken: what failed may still be looking at the bytes.
    if (pool.length < keptBuffers) pool.push(buffer);
  };

  const setattr: JobHandler = async (job) => {
    const change = attributeChange(job.a, payload(job, setattrPayloadBytes));
    const handle = job.b === 0 ? undefined : (job.b as FileHandle);
    const { attributes, attrTtlMs } = await fileSystem.setattr(job, job.inode as Inode, change, handle);
    packed.setAttributes(attributes, { attrTtlMs, entryTtlMs: 0 });
    session().replyAttributes(job.id);
  };

  const rename = answerDone((job) => {
    const [from, to] = names(job);
    return fileSystem.rename(job, job.inode as Inode, from, job.a as Inode, to, job.b);
  });

  const copyFileRange: JobHandler = async (job) => {
    const view = payload(job, copyPayloadBytes);
    const [fromPosition, toPosition, length] = [0, 8, 16].map((at) => view.getFloat64(at, true)) as [
      number,
      number,
      number,
    ];
    // A complete file is read by the addon alone, and its handle was given back: then it is opened for this once.
    const own =
      job.a === 0 ? (await fileSystem.open(job, job.inode as Inode, constants.O_RDONLY)).handle : undefined;
    try {
      const from = own ?? (job.a as FileHandle);
      const to = job.b as FileHandle;
      session().replyCount(
        job.id,
        await fileSystem.copyFileRange(job, from, fromPosition, to, toPosition, length),
      );
    } finally {
      if (own !== undefined) await fileSystem.release(own);
    }
  };

  return [
    [jobKind.create, create],
    [jobKind.write, write],
    [jobKind.setattr, setattr],
    [jobKind.flush, answerDone((job) => fileSystem.flush(job, job.a as FileHandle))],
    [jobKind.fsync, answerDone((job) => fileSystem.fsync(job, job.a as FileHandle))],
    [
      jobKind.mkdir,
      async (job) => answerEntry(job, await fileSystem.mkdir(job, job.inode as Inode, job.name, job.b)),
    ],
    [jobKind.unlink, answerDone((job) => fileSystem.unlink(job, job.inode as Inode, job.name))],
    [jobKind.rmdir, answerDone((job) => fileSystem.rmdir(job, job.inode as Inode, job.name))],
    [jobKind.rename, rename],
    [jobKind.rename2, rename],
    [
      jobKind.symlink,
      async (job) => {
        const [name, target] = names(job);
        answerEntry(job, await fileSystem.symlink(job, job.inode as Inode, name, target));
      },
    ],
    [
      jobKind.link,
      async (job) =>
        answerEntry(job, await fileSystem.link(job, job.a as Inode, job.inode as Inode, job.name)),
    ],
    [jobKind.copyFileRange, copyFileRange],
    [jobKind.copyFileRange64, copyFileRange],
  ];
}
