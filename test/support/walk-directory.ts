/** A directory as the kernel shows it, by Python: a second pair of eyes, and one that reads names as bytes. */
import { mustRun } from './child.js';

/** What lstat(2), readlink(2), listxattr(2) and reading tell of one path. */
export interface Found {
  /** Below the root, each byte as one character (latin1). */
  readonly path: string;
  readonly kind: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeNs: string;
  readonly nlink: number;
  readonly device: readonly number[];
  readonly link: string;
  /** Values in hex. */
  readonly xattrs: Readonly<Record<string, string>>;
  /** Empty for what is no file. */
  readonly sha256: string;
}

/** Node cannot list extended attributes, and reads names as text: Python does both as bytes. */
const walkProgram = `
import hashlib, json, os, stat, sys
root = os.fsencode(sys.argv[1])
kinds = {stat.S_IFREG: 'file', stat.S_IFDIR: 'directory', stat.S_IFLNK: 'symlink', stat.S_IFCHR: 'char',
         stat.S_IFBLK: 'block', stat.S_IFIFO: 'fifo'}
def emit(path):
    full = os.path.join(root, path) if path else root
    st = os.lstat(full)
    kind = kinds[stat.S_IFMT(st.st_mode)]
    device = [os.major(st.st_rdev), os.minor(st.st_rdev)] if kind in ('char', 'block') else [0, 0]
    print(json.dumps({
        'path': path.decode('latin1'), 'kind': kind, 'mode': st.st_mode & 0o7777, 'uid': st.st_uid, 'gid': st.st_gid,
        'size': st.st_size if kind in ('file', 'symlink') else 0, 'mtimeNs': str(st.st_mtime_ns), 'nlink': st.st_nlink,
        'device': device, 'link': os.readlink(full).decode('latin1') if kind == 'symlink' else '',
        'xattrs': {name: os.getxattr(full, name, follow_symlinks=False).hex()
                   for name in sorted(os.listxattr(full, follow_symlinks=False))},
        'sha256': hashlib.sha256(open(full, 'rb').read()).hexdigest() if kind == 'file' else ''}))
os.listdir(root)  # only then has the root of a lazy tree its own attributes
emit(b'')
for folder, folders, files in os.walk(root):
    below = os.path.relpath(folder, root)
    for name in folders + files: emit(name if below == b'.' else os.path.join(below, name))
`;

/** Everything below `root`, and the root itself as ``. Needs python3. */
export async function walkDirectory(root: string, timeoutMs = 120_000): Promise<Map<string, Found>> {
  const { stdout } = await mustRun('python3', ['-c', walkProgram, root], { timeoutMs });
  const all = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Found);
  return new Map(all.map((found) => [found.path, found]));
}
