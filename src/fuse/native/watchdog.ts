/**
 * The watchdog: a child that unmounts when this process is gone, however it went. fusermount3's auto_unmount does not
 * do that for everybody (Debian 12: not for a plain user without allow_other), and kill -9 leaves no time for us.
 *
 * It reads a pipe whose other end only this process has. A line with the device arms it, `done` ends it, the end of
 * the pipe without `done` makes it unmount.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createLogger } from '../../observe/log.js';

const log = createLogger('fuse');

export class Watchdog {
  readonly #child: ChildProcess;
  #alive = true;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.once('error', (error) => {
      this.#alive = false;
      log.warn('no watchdog: after a crash the mount stays until it is unmounted by hand', {
        cause: error.message,
      });
    });
    child.once('exit', () => {
      this.#alive = false;
    });
    child.stdin?.on('error', () => {
      // It ended; `exit` has told.
    });
    child.unref();
    (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Tell which device is ours: another mount at the same place is then left alone. */
  arm(device: string | undefined): void {
    this.#child.stdin?.write(`device ${device ?? 'unknown'}\n`);
  }

  /** The mount is gone in good order. */
  dismiss(): void {
    this.#child.stdin?.end('done\n');
  }
}

/**
 * Start a watchdog for a mount that is about to be made; undefined, with a warning, when its program is missing.
 * @param addonPath the addon's file: the watchdog's program lies beside it.
 * @param helper path of fusermount3 for when umount2(2) is not allowed; empty when it is not installed.
 */
export function startWatchdog(addonPath: string, mountPoint: string, helper: string): Watchdog | undefined {
  const program = join(dirname(addonPath), 'imgfs-watchdog');
  if (!existsSync(program)) {
    log.warn('no watchdog program beside the addon: after a crash the mount stays', { program });
    return undefined;
  }
  // A session of its own: a signal to our process group must not end it with us.
  return new Watchdog(
    spawn(program, [mountPoint, helper], { detached: true, stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' }),
  );
}
