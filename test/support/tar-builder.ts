/** Layers in memory: tar by tar-stream, compressed as asked. */
import { execFile } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';

export interface TarEntry {
  /** Path without leading slash; a directory may end in one. */
  readonly name: string;
  /** Default: `directory` for a name that ends in `/`, `symlink` or `link` by `linkname`, else `file`. */
  readonly type?: 'file' | 'directory' | 'symlink' | 'link' | 'fifo' | 'character-device' | 'block-device';
  readonly content?: string | Uint8Array;
  readonly linkname?: string;
  /** Default: 0o755 for directories, 0o644 otherwise. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds since the epoch. Default 1,700,000,000: builds are reproducible. */
  readonly mtime?: number;
  readonly devmajor?: number;
  readonly devminor?: number;
  /** Extra pax records, `SCHILY.xattr.user.x` for example. */
  readonly pax?: Readonly<Record<string, string>>;
}

export type LayerCompression = 'none' | 'gzip' | 'zstd';

const fixedTime = 1_700_000_000;

/** Bytes of a tar archive with these entries, in this order. */
export async function buildTar(entries: readonly TarEntry[]): Promise<Uint8Array> {
  const archive = pack();
  const parts: Uint8Array[] = [];
  const done = (async () => {
    for await (const part of archive) parts.push(part as Uint8Array);
  })();
  for (const entry of entries) {
    const type = entry.type ?? (entry.name.endsWith('/') ? 'directory' : entry.linkname ? 'symlink' : 'file');
    archive.entry(
      {
        name: entry.name,
        type,
        mode: entry.mode ?? (type === 'directory' ? 0o755 : 0o644),
        uid: entry.uid ?? 0,
        gid: entry.gid ?? 0,
        mtime: new Date((entry.mtime ?? fixedTime) * 1000),
        ...(entry.linkname === undefined ? {} : { linkname: entry.linkname }),
        ...(entry.devmajor === undefined ? {} : { devmajor: entry.devmajor, devminor: entry.devminor ?? 0 }),
        ...(entry.pax === undefined ? {} : { pax: entry.pax }),
      },
      Buffer.from(type === 'file' ? (entry.content ?? '') : ''),
    );
  }
  archive.finalize();
  await done;
  return Buffer.concat(parts);
}

/** Compress as a layer is compressed. zstd runs the `zstd` command: Node 20 has none of its own. */
export async function compressLayer(tar: Uint8Array, compression: LayerCompression): Promise<Uint8Array> {
  switch (compression) {
    case 'none':
      return tar;
    case 'gzip':
      return gzipSync(tar, { level: 6 });
    case 'zstd':
      return new Promise((resolve, reject) => {
        const options = { encoding: 'buffer', maxBuffer: 1 << 30, timeout: 60_000 } as const;
        const child = execFile('zstd', ['-q', '-c'], options, (error, stdout) =>
          error === null ? resolve(stdout) : reject(error),
        );
        child.stdin?.end(tar);
      });
  }
}
