/** One mount of the native driver. */
import { writeFile } from 'node:fs/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import type { FileSystem, Notifier } from '../../vfs/file-system.js';
import type { MountSession } from '../driver.js';
import { findMount } from '../mount-table.js';
import type { AddonFuse, AddonSession } from './addon-fuse.js';
import type { Dispatcher, Ready } from './dispatcher.js';
import type { Watchdog } from './watchdog.js';

const log = createLogger('fuse');

/** The kernel sends INIT with the mount itself; a machine that needs longer than this does not work. */
const initTimeoutMs = 10_000;

const errnoOfBusy = 16;

export interface NativeSessionParts {
  readonly mountPoint: string;
  readonly helper: string;
  readonly fuse: AddonFuse;
  readonly session: AddonSession;
  readonly dispatcher: Dispatcher;
  readonly watchdog: Watchdog | undefined;
  /** What the kernel may read ahead; undefined leaves its default. */
  readonly readAheadKib: number | undefined;
}

export class NativeSession implements MountSession {
  readonly mountPoint: string;
  readonly closed: Promise<void>;
  readonly #parts: NativeSessionParts;
  readonly #ready: Promise<Ready>;
  #statistics: Readonly<Record<string, number>> = {};
  #open = true;
  #minor = 0;

  constructor(parts: NativeSessionParts) {
    this.#parts = parts;
    this.mountPoint = parts.mountPoint;
    this.#ready = new Promise((resolve) => {
      parts.dispatcher.onReady = resolve;
    });
    this.closed = new Promise((resolve) => {
      parts.dispatcher.onClosed = (errno) => void this.#finish(errno).then(resolve);
    });
  }

  /** Serve: resolves when the kernel has agreed on the protocol. @throws ImgfsError `mount-unavailable`. */
  async start(fileSystem: FileSystem): Promise<void> {
    this.#parts.session.run();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), initTimeoutMs);
    });
    const ready = await Promise.race([this.#ready, this.closed, late]);
    clearTimeout(timer);
    if (ready === undefined) {
      await this.unmount({ force: true }).catch(() => {
        // The kernel refused the protocol and has let go of the mount already.
      });
      throw new ImgfsError(
        'mount-unavailable',
        `mount at ${this.mountPoint}: the kernel did not agree on a protocol`,
        {
          path: this.mountPoint,
          hint: 'Linux 5.4 or newer is needed; --driver fuse-native works with older ones',
        },
      );
    }
    this.#minor = ready.minor;
    log.debug('mounted', {
      mountPoint: this.mountPoint,
      protocol: `7.${ready.minor}`,
      passthrough: ready.passthrough,
    });
    const device = (await findMount(this.mountPoint))?.device;
    this.#parts.watchdog?.arm(device);
    await this.#raiseReadAhead(device);
    fileSystem.attach?.(this.#notifier());
  }

  statistics(): Readonly<Record<string, number>> {
    if (this.#open) {
      this.#statistics = {
        ...this.#parts.session.statistics(),
        failures: this.#parts.dispatcher.failures,
        protocolMinor: this.#minor,
        watchdog: this.#parts.watchdog?.alive === true ? 1 : 0,
      };
    }
    return this.#statistics;
  }

  async unmount(options: { readonly force?: boolean } = {}): Promise<void> {
    if (!this.#open) return;
    const { fuse, helper, session } = this.#parts;
    const force = options.force === true;
    const { error, output } = await fuse.unmount(this.mountPoint, helper, force);
    // Gone already, by somebody else's hand, is what was wanted.
    const isMounted = error !== 0 && (await findMount(this.mountPoint)) !== undefined;
    if (isMounted) {
      const busy = error === errnoOfBusy && (output === '' || /busy/i.test(output));
      throw new ImgfsError(
        busy ? 'busy' : 'mount-unavailable',
        `unmount ${this.mountPoint}: ${busy ? 'files are open' : output || `errno ${error}`}`,
        {
          path: this.mountPoint,
          hint: busy
            ? 'close what uses it (fuser -vm shows it), or use --force'
            : 'unmount as the user who mounted it',
        },
      );
    }
    // Detached, but files may be open: whoever has one gets ENOTCONN from now on.
    if (force) session.stop();
    await this.closed;
  }

  #notifier(): Notifier {
    const { session } = this.#parts;
    return {
      expireEntry: (parent, name) => {
        if (this.#open) session.expireEntry(parent, name);
      },
      expireAttributes: (inode) => {
        if (this.#open) session.expireAttributes(inode);
      },
      expireContent: (inode) => {
        if (this.#open) session.expireContent(inode);
      },
    };
  }

  /** Bigger requests of the kernel for sequential reads. Only root may; without it 128 KiB remain. */
  async #raiseReadAhead(device: string | undefined): Promise<void> {
    const { readAheadKib } = this.#parts;
    if (device === undefined || readAheadKib === undefined) return;
    await writeFile(`/sys/class/bdi/${device}/read_ahead_kb`, `${readAheadKib}`).catch(() => {
      // Not root, or /sys is read-only in this container.
    });
  }

  async #finish(errno: number): Promise<void> {
    if (errno !== 0) log.error('the connection to the kernel broke', { mountPoint: this.mountPoint, errno });
    this.statistics();
    this.#open = false;
    await this.#parts.dispatcher.releaseAll();
    if (!(await this.#parts.session.close()))
      log.error('threads are stuck in the kernel', { mountPoint: this.mountPoint });
    this.#parts.watchdog?.dismiss();
  }
}
