/** What the FUSE bench reads: on disk, and the same through a memory file system backed by it. */
import { closeSync, linkSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pattern } from './sample-tree.js';
import { WritableMemoryFileSystem } from './writable-memory-file-system.js';

/** A quarter of a second at 1 GB/s, and seven times the largest cache of a processor that we measured on. */
const bigBytes = 256 * 1024 * 1024;
export const listedFiles = 20_000;
/** Inodes of the same bytes: read once each, then by one of several readers; the last is read and dropped. */
export const coldFiles = 10;
export const unknownFolders = 10;
export const unknownFiles = 2_000;

export function fillBenchFolder(folder: string): void {
  const block = pattern(0, 1024 * 1024);
  const file = openSync(join(folder, 'big'), 'w');
  for (let at = 0; at < bigBytes; at += block.length) writeSync(file, block);
  closeSync(file);
  for (let i = 0; i < coldFiles; i += 1) linkSync(join(folder, 'big'), join(folder, `cold-${i}`));
  const folders = ['files', ...Array.from({ length: unknownFolders }, (_, i) => `unknown-${i}`)];
  for (const name of folders) {
    mkdirSync(join(folder, name));
    const count = name === 'files' ? listedFiles : unknownFiles;
    for (let i = 0; i < count; i += 1) writeFileSync(join(folder, name, `f${i}`), '');
  }
}

export function benchTree(): WritableMemoryFileSystem {
  const data = process.env['IMGFS_BENCH_DATA'] ?? '';
  const fileSystem = new WritableMemoryFileSystem({ negativeTtlMs: 3_600_000 });
  const { root } = fileSystem;
  for (const name of ['big', ...Array.from({ length: coldFiles }, (_, i) => `cold-${i}`)])
    fileSystem.addBacked(root, name, join(data, 'big'), bigBytes);
  const files = fileSystem.addDirectory(root, 'files');
  files.complete = true;
  for (let i = 0; i < listedFiles; i += 1) fileSystem.addFile(files, `f${i}`, '');
  for (let folder = 0; folder < unknownFolders; folder += 1) {
    const directory = fileSystem.addDirectory(root, `unknown-${folder}`);
    // As the trees of images are: nobody has listed it yet.
    directory.complete = true;
    for (let i = 0; i < unknownFiles; i += 1) fileSystem.addFile(directory, `f${i}`, '');
  }
  return fileSystem;
}
