/**
 * Settings that several verbs share: their options (skopeo's names), and what they mean once parsed. Plain
 * data, so that a parent can hand it to its daemon.
 */
import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Argv } from 'yargs';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Arguments } from './command.js';
import { parseBytes, parseDuration } from './output.js';

export interface Settings {
  readonly authFile: string | undefined;
  /** `user:password` from `--creds`. Secret. */
  readonly credentials: string | undefined;
  readonly anonymous: boolean;
  readonly certificateDirectory: string | undefined;
  /** Undefined: as registries.conf and hosts.toml say. */
  readonly tlsVerify: boolean | undefined;
  readonly retryTimes: number;
  readonly cacheDirectory: string;
  readonly cacheBytes: number;
  readonly verify: 'default' | 'strict' | 'deferred';
  readonly offline: boolean;
  readonly platform: string | undefined;
  readonly tagTtlMs: number;
  readonly timeoutMs: number;
  /** Whose the files in `rootfs/` are. */
  readonly owner: 'image' | 'mounter';
  /** Links in `rootfs/` as they are, or kept inside it. */
  readonly symlinks: 'raw' | 'inside';
  /** Show `security.*` and `trusted.*` of files in images. */
  readonly allXattrs: boolean;
}

/** `$XDG_CACHE_HOME/imgfs`, or `~/.cache/imgfs` (XDG base directory specification). */
export function defaultCacheDirectory(): string {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.cache'), 'imgfs');
}

/**
 * Log of the daemon that serves a mount point: below `$XDG_STATE_HOME/imgfs`, or `~/.local/state/imgfs` (XDG base
 * directory specification). Not in the cache: that is an OCI layout, and may be deleted at any time.
 */
export function defaultLogFile(mountPoint: string): string {
  const base = process.env['XDG_STATE_HOME'];
  const state = base !== undefined && base.startsWith('/') ? base : join(homedir(), '.local', 'state');
  const name = createHash('sha256').update(mountPoint).digest('hex').slice(0, 12);
  return join(state, 'imgfs', `mount-${name}.log`);
}

/** Options of everything that talks to a registry or reads the cache. */
export function storeOptions(yargs: Argv): Argv {
  return yargs
    .option('authfile', { type: 'string', describe: 'read credentials from this file only' })
    .option('creds', {
      type: 'string',
      describe: 'USER:PASSWORD for the registry (visible in ps; prefer login)',
    })
    .option('no-creds', { type: 'boolean', describe: 'use no credentials at all' })
    .option('cert-dir', {
      type: 'string',
      describe: 'CA certificates (*.crt) and client pairs (*.cert, *.key)',
    })
    .option('tls-verify', { type: 'boolean', describe: 'require https and a valid certificate' })
    .option('retry-times', { type: 'number', default: 3, describe: 'retries of a failed request' })
    .option('cache-dir', { type: 'string', describe: 'where the cache is kept' })
    .option('cache-size', {
      type: 'string',
      default: '10GiB',
      describe: 'bound of the cache, in bytes on disk',
    })
    .option('verify', {
      choices: ['default', 'strict', 'deferred'] as const,
      default: 'default' as const,
      describe: 'strict: no byte of a blob before the whole matched its digest',
    })
    .option('offline', { type: 'boolean', default: false, describe: 'never use the network' })
    .option('platform', { type: 'string', describe: 'OS/ARCH[/VARIANT] to choose from an index' })
    .option('tag-ttl', { type: 'string', default: '60s', describe: 'how long a tag is believed' })
    .option('timeout', { type: 'string', default: '60s', describe: 'deadline of one operation' })
    .option('owner', {
      choices: ['image', 'mounter'] as const,
      default: 'image' as const,
      describe: 'whose the files in an image are: as the image says, or yours',
    })
    .option('symlinks', {
      choices: ['raw', 'inside'] as const,
      default: 'raw' as const,
      describe: 'inside: links of an image lead nowhere outside its rootfs',
    })
    .option('all-xattrs', {
      type: 'boolean',
      default: false,
      describe: 'show security.* and trusted.* of files in images',
    });
}

function duration(args: Arguments, name: string): number {
  const text = String(args[name]);
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) {
    throw new ImgfsError('usage', `--${name} ${JSON.stringify(text)} is not a duration`, {
      hint: 'write 250ms, 60s or 5m',
    });
  }
  return milliseconds;
}

function optionalText(args: Arguments, name: string): string | undefined {
  const value = args[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Parsed options to settings. @throws ImgfsError `usage` naming the option. */
export function settingsFrom(args: Arguments): Settings {
  const size = String(args['cache-size']);
  const cacheBytes = parseBytes(size);
  if (cacheBytes === undefined) {
    throw new ImgfsError('usage', `--cache-size ${JSON.stringify(size)} is not a size`, {
      hint: 'write 500MiB or 10GiB',
    });
  }
  const retryTimes = Number(args['retry-times']);
  if (!Number.isInteger(retryTimes) || retryTimes < 0) {
    throw new ImgfsError('usage', '--retry-times must be a whole number from 0');
  }
  const authFile = optionalText(args, 'authfile');
  const certificateDirectory = optionalText(args, 'cert-dir');
  return {
    authFile: authFile === undefined ? undefined : resolve(authFile),
    credentials: optionalText(args, 'creds'),
    // yargs reads --no-creds as creds=false
    anonymous: args['creds'] === false || args['no-creds'] === true,
    certificateDirectory: certificateDirectory === undefined ? undefined : resolve(certificateDirectory),
    tlsVerify: typeof args['tls-verify'] === 'boolean' ? args['tls-verify'] : undefined,
    retryTimes,
    cacheDirectory: resolve(
      optionalText(args, 'cache-dir') ?? process.env['IMGFS_CACHE_DIR'] ?? defaultCacheDirectory(),
    ),
    cacheBytes,
    verify: args['verify'] as Settings['verify'],
    offline: args['offline'] === true,
    platform: optionalText(args, 'platform'),
    tagTtlMs: duration(args, 'tag-ttl'),
    timeoutMs: duration(args, 'timeout'),
    owner: args['owner'] === 'mounter' ? 'mounter' : 'image',
    symlinks: args['symlinks'] === 'inside' ? 'inside' : 'raw',
    allXattrs: args['all-xattrs'] === true,
  };
}
