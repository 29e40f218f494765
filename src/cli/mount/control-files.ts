/** What `/.imgfs/` says of the mount: each file is rendered when it is read, from what is in memory. */
import type { DiskCache } from '../../content/disk.js';
import type { ErrorLog } from '../../observe/error-log.js';
import { renderPrometheus, snapshotMetrics } from '../../observe/metrics.js';
import type { ControlFile } from '../../vfs/tree-context.js';
import type { EventLog } from './event-log.js';
import type { MountSettings } from './mount-settings.js';

export interface ControlSources {
  readonly settings: MountSettings;
  readonly version: string;
  readonly content: DiskCache;
  readonly errors: ErrorLog;
  readonly events: EventLog;
  readonly startedAt: Date;
  /** Name and reason of the driver; undefined until it is mounted. */
  driver(): { readonly name: string; readonly reason: string } | undefined;
  driverStatistics(): Readonly<Record<string, number>>;
}

function json(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`);
}

function status(sources: ControlSources): object {
  const { settings, version, startedAt } = sources;
  const driver = sources.driver();
  return {
    version,
    pid: process.pid,
    mountPoint: settings.mountPoint,
    driver: driver?.name,
    driverReason: driver?.reason,
    startedAt: startedAt.toISOString(),
    uptimeSeconds: Math.round((Date.now() - startedAt.getTime()) / 1_000),
    readOnly: settings.readOnly,
    stores: settings.stores,
    node: process.version,
  };
}

function statistics(sources: ControlSources): object {
  const memory = process.memoryUsage();
  return {
    memory: { residentBytes: memory.rss, heapBytes: memory.heapUsed, externalBytes: memory.external },
    driver: sources.driverStatistics(),
    counters: snapshotMetrics(),
  };
}

/** Settings as they are in force. The one secret, `--creds`, is named but not shown. */
function effectiveConfiguration({ settings }: ControlSources): object {
  const { credentials, ...rest } = settings;
  return { ...rest, credentials: credentials === undefined ? undefined : '<redacted>' };
}

/** The files, by name. */
export function controlFiles(sources: ControlSources): Map<string, ControlFile> {
  return new Map<string, ControlFile>([
    ['status.json', async () => json(status(sources))],
    ['stats.json', async () => json(statistics(sources))],
    ['metrics', async () => Buffer.from(renderPrometheus())],
    ['events.ndjson', async () => Buffer.from(sources.events.render())],
    ['errors.ndjson', async () => Buffer.from(sources.errors.renderNdjson())],
    ['config.json', async () => json(effectiveConfiguration(sources))],
    ['cache.json', async () => json(await sources.content.usage())],
  ]);
}
