/** Serving a mount until it is unmounted or a signal ends it: what the daemon and `--foreground` both do. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { chooseDriver } from '../../fuse/choose-driver.js';
import type { MountSession } from '../../fuse/driver.js';
import { prepareMountPoint } from '../../fuse/mount-point.js';
import { ErrorLog } from '../../observe/error-log.js';
import { createLogger, setLogSink } from '../../observe/log.js';
import type { CommandContext } from '../command.js';
import { readPolicy } from '../read-policy.js';
import { prepareStores } from '../registries.js';
import { openRuntime, openTree } from '../runtime.js';
import { controlFiles } from './control-files.js';
import { endAtOnceSignal } from './end-at-once.js';
import { EventLog } from './event-log.js';
import type { MountSettings } from './mount-settings.js';
import { processStartTime, removeRecord, writeRecord } from './state-directory.js';

const log = createLogger('mount');

/** What is told to whoever waits for the mount. */
export interface Ready {
  readonly mountPoint: string;
  readonly pid: number;
  readonly driver: string;
  readonly reason: string;
}

/** A reader that keeps a file open must not keep the process from ending: after this long it is detached. */
const politeUnmountMs = 2_000;

/** Letting go of what is under way takes milliseconds; a disk that hangs must not keep the process. */
const hurriedEndMs = 3_000;

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Unmount; while files stay open, detach instead. */
async function unmount(session: MountSession): Promise<void> {
  const until = Date.now() + politeUnmountMs;
  for (;;) {
    try {
      await session.unmount();
      return;
    } catch (error) {
      const busy = error instanceof ImgfsError && error.code === 'busy';
      if (!busy || Date.now() > until) {
        log.warn('unmounting lazily: files are open', { mountPoint: session.mountPoint });
        await session.unmount({ force: true });
        return;
      }
      await new Promise((wake) => {
        setTimeout(wake, 100);
      });
    }
  }
}

/** A defect in one handler must not end the mount: it is logged, and the mount goes on. */
function surviveDefects(events: EventLog): void {
  const note = (kind: string) => (error: unknown) => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    events.event(kind, { error: text });
    log.error(kind, { error: text });
  };
  process.on('uncaughtException', note('uncaught exception'));
  process.on('unhandledRejection', note('unhandled rejection'));
}

/**
 * Mount and serve; resolves when the mount is gone.
 * @param onReady called once, when the tree can be used.
 * @throws ImgfsError `mount-unavailable` and `config` before the mount, nothing after it.
 */
export async function serve(
  settings: MountSettings,
  context: Pick<CommandContext, 'signal' | 'version'>,
  onReady: (ready: Ready) => void,
): Promise<void> {
  const mountPoint = await prepareMountPoint(settings.mountPoint, {
    create: settings.createMountPoint,
    allowNonEmpty: settings.allowNonEmpty,
  });
  const policy = settings.policyFile === undefined ? undefined : await readPolicy(settings.policyFile);
  const { driver, reason } = await chooseDriver(settings.driver);
  const expected = settings.stores.map((store) => ({ ...store, expected: true }));
  await prepareStores(settings, expected);
  const runtime = await openRuntime(settings, expected);
  const events = new EventLog();
  const errorLog = new ErrorLog();
  const before = setLogSink((line) => {
    events.add(line);
    before(line);
  });
  let session: MountSession | undefined;
  const hurry = new AbortController();
  process.once(endAtOnceSignal, () => hurry.abort(new ImgfsError('interrupted', 'the mount ends at once')));
  const { allowOverwrite, allowDelete, tagDeleteFallback } = settings;
  const tree = await openTree(runtime, {
    errorLog,
    ...(policy === undefined ? {} : { policy }),
    ...(settings.readOnly || settings.offline
      ? {}
      : { writing: { allowOverwrite, allowDelete, tagDeleteFallback, endAtOnce: hurry.signal } }),
    controlFiles: controlFiles({
      settings: { ...settings, mountPoint },
      version: context.version,
      content: runtime.content,
      errors: errorLog,
      events,
      startedAt: new Date(),
      driver: () => (session === undefined ? undefined : { name: driver.name, reason }),
      driverStatistics: () => session?.statistics() ?? {},
    }),
  });
  try {
    session = await driver.mount(mountPoint, tree, {
      readOnly: settings.readOnly,
      allowOther: settings.allowOther,
      allXattrs: settings.allXattrs,
      fsName: 'imgfs',
      operationTimeoutMs: settings.timeoutMs,
      onError: (operation, error) => log.debug('operation failed', { operation, error: String(error) }),
    });
    surviveDefects(events);
    await announce(settings, session, driver.name, onReady, reason);
    events.event('mounted', { mountPoint, driver: driver.name });
    await Promise.race([untilGone(session, context.signal), untilAborted(hurry.signal)]);
  } finally {
    const closing = (async () => {
      await tree.close();
      await runtime.close();
    })();
    const hurried = untilAborted(hurry.signal).then(() => sleep(hurriedEndMs, undefined, { ref: false }));
    await Promise.race([closing, hurried]);
    await removeRecord(mountPoint).catch(() => {
      // The record is removed by whoever reads it next: its process is gone.
    });
  }
  // libfuse 2's binding keeps the event loop alive for ever.
  setTimeout(() => process.exit(), 500).unref();
  if (driver.name === 'fuse-native' || hurry.signal.aborted) process.exit();
}

async function announce(
  settings: MountSettings,
  session: MountSession,
  driver: string,
  onReady: (ready: Ready) => void,
  reason: string,
): Promise<void> {
  const { mountPoint } = session;
  await writeRecord({
    mountPoint,
    pid: process.pid,
    startTime: (await processStartTime(process.pid)) ?? '',
    driver,
    logFile: settings.logFile,
    cacheDirectory: settings.cacheDirectory,
  }).catch((error: unknown) =>
    log.warn('status and umount will not find this daemon', { error: String(error) }),
  );
  onReady({ mountPoint, pid: process.pid, driver, reason });
}

/** Until somebody unmounts, or a signal makes us do it. */
async function untilGone(session: MountSession, signal: AbortSignal): Promise<void> {
  await Promise.race([session.closed, untilAborted(signal)]);
  if (signal.aborted) await unmount(session);
  await session.closed;
}
