/**
 * Finds and loads the C++ addon of `native/`. A leaf, open to every room: each room gives its part of the addon a
 * type of its own.
 *
 * Order: `IMGFS_ADDON` (a path, or `none`), a prebuilt binary, a local build. Without any of them the caller takes
 * its fallback, and `reason` says what to do about it.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** Same number as `kAbi` in native/src/addon.cc: a stale binary is refused, not called with wrong arguments. */
export const addonAbi = 3;

/** What the addon exports. The parts are typed by the rooms that use them. */
export interface Addon {
  readonly abi: number;
  readonly fuse: unknown;
  readonly layer: unknown;
  readonly receive?: unknown;
  readonly folder?: unknown;
}

export type AddonLoad =
  { readonly addon: Addon; readonly path: string } | { readonly addon: undefined; readonly reason: string };

const nativeFolder = fileURLToPath(new URL('../../../native/', import.meta.url));

function candidates(): readonly string[] {
  const chosen = process.env['IMGFS_ADDON'];
  if (chosen !== undefined && chosen !== '') return chosen === 'none' ? [] : [chosen];
  const tuple = `${process.platform}-${process.arch}`;
  return [
    `${nativeFolder}prebuilds/${tuple}/imgfs.node`,
    // The wrong libc fails to load, and the next candidate is tried: no guessing which one this system has.
    `${nativeFolder}prebuilds/${tuple}-musl/imgfs.node`,
    `${nativeFolder}build/Release/imgfs.node`,
  ];
}

function tryLoad(path: string): Addon {
  const addon = createRequire(import.meta.url)(path) as Partial<Addon>;
  if (addon.abi !== addonAbi) {
    throw new Error(`it was built for interface ${addon.abi}, not ${addonAbi}: run npm run build:native`);
  }
  return addon as Addon;
}

function load(): AddonLoad {
  const failures: string[] = [];
  for (const path of candidates()) {
    if (!existsSync(path)) continue;
    try {
      return { addon: tryLoad(path), path };
    } catch (error) {
      failures.push(`${path}: ${error instanceof Error ? error.message.split('\n', 1)[0] : String(error)}`);
    }
  }
  const reason =
    process.env['IMGFS_ADDON'] === 'none'
      ? 'the addon is switched off by IMGFS_ADDON=none'
      : 'no addon for this platform: run npm run build:native (needs a C++ compiler)';
  return { addon: undefined, reason: failures.length === 0 ? reason : failures.join('; ') };
}

let loaded: AddonLoad | undefined;

/** The addon, or why there is none. Never throws; the answer is the same for the life of the process. */
export function loadAddon(): AddonLoad {
  loaded ??= load();
  return loaded;
}
