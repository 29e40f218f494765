/**
 * Unmounting by the system's own tools, never through a shell: a mount point may hold any byte.
 *
 * `umount` for root, else `fusermount3` (fuse 3) or `fusermount` (fuse 2), which are setuid and know whose
 * mount it is.
 */
import { execFile } from 'node:child_process';
import { ImgfsError } from '../errors/imgfs-error.js';

/** Unmounting flushes nothing on our side; a tool that needs longer than this hangs in the kernel. */
const toolTimeoutMs = 10_000;

interface ToolResult {
  readonly status: number | 'missing' | 'timeout';
  readonly stderr: string;
}

function run(command: string, args: readonly string[]): Promise<ToolResult> {
  return new Promise((resolve) => {
    // LC_ALL: the reason is recognised by its words.
    const options = { timeout: toolTimeoutMs, env: { ...process.env, LC_ALL: 'C' } };
    execFile(command, [...args], options, (error, _stdout, stderr) => {
      if (error === null) resolve({ status: 0, stderr });
      else if (error.code === 'ENOENT') resolve({ status: 'missing', stderr: '' });
      else if (error.killed === true) resolve({ status: 'timeout', stderr });
      else resolve({ status: typeof error.code === 'number' ? error.code : 1, stderr });
    });
  });
}

function candidates(mountPoint: string, lazy: boolean): [string, string[]][] {
  if (process.platform === 'darwin') {
    return [['diskutil', lazy ? ['unmount', 'force', mountPoint] : ['unmount', mountPoint]]];
  }
  const helpers: [string, string[]][] = ['fusermount3', 'fusermount'].map((helper) => [
    helper,
    [lazy ? '-uz' : '-u', '--', mountPoint],
  ]);
  const direct: [string, string[]] = ['umount', lazy ? ['-l', '--', mountPoint] : ['--', mountPoint]];
  return process.getuid?.() === 0 ? [direct, ...helpers] : [...helpers, direct];
}

/**
 * Unmount `mountPoint` (absolute). `lazy` detaches it at once and lets open files live on.
 * @throws ImgfsError `busy` when files are open, `not-found` when nothing is mounted there,
 *   `mount-unavailable` when no tool could do it.
 */
export async function unmountPath(mountPoint: string, options: { readonly lazy: boolean }): Promise<void> {
  let lastProblem = 'no unmount tool was found';
  for (const [command, args] of candidates(mountPoint, options.lazy)) {
    const { status, stderr } = await run(command, args);
    if (status === 0) return;
    if (status === 'missing') continue;
    lastProblem = `${command}: ${status === 'timeout' ? 'no answer' : stderr.trim()}`;
    if (/busy/i.test(stderr)) {
      throw new ImgfsError('busy', `unmount ${mountPoint}: files are open`, {
        path: mountPoint,
        hint: 'close what uses it (fuser -vm shows it), or use --force',
      });
    }
    if (/not mounted|not found in|no mount point/i.test(stderr)) {
      throw new ImgfsError('not-found', `unmount ${mountPoint}: nothing is mounted there`, {
        path: mountPoint,
      });
    }
  }
  throw new ImgfsError('mount-unavailable', `unmount ${mountPoint}: ${lastProblem}`, {
    path: mountPoint,
    hint: 'install the fuse3 package, or unmount as root',
  });
}
