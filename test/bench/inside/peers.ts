/** Other ways to the files of an image: each pulls and unpacks all of it first. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCommand, mustRun, run } from '../../support/child.js';
import { timed } from '../section.js';
import type { Ground } from './ground.js';

const timeoutMs = 170_000;

export interface Prepared {
  readonly rootfs: string;
  readonly prepareMs: number;
  remove(): Promise<void>;
}

export interface Peer {
  readonly name: string;
  readonly isHere: boolean;
  prepare(ground: Ground): Promise<Prepared>;
}

const umoci: Peer = {
  name: 'skopeo copy + umoci unpack',
  isHere: hasCommand('skopeo') && hasCommand('umoci'),
  prepare: async ({ directory, host, tag }) => {
    const folder = join(directory, 'umoci');
    await mkdir(folder);
    const image = `oci:${join(folder, 'layout')}:${tag}`;
    const flags = ['--insecure-policy', 'copy', '-q', '--src-tls-verify=false'];
    const bundle = join(folder, 'bundle');
    const prepareMs = await timed(async () => {
      await mustRun('skopeo', [...flags, `docker://${host}/app:${tag}`, image], { timeoutMs });
      await mustRun('umoci', ['unpack', '--image', `${join(folder, 'layout')}:${tag}`, bundle], {
        timeoutMs,
      });
    });
    return { rootfs: join(bundle, 'rootfs'), prepareMs, remove: () => rm(folder, { recursive: true }) };
  },
};

const podman: Peer = {
  name: 'podman pull + image mount',
  isHere: hasCommand('podman') && process.getuid?.() === 0,
  prepare: async ({ directory, host, tag }) => {
    const folder = join(directory, 'podman');
    await mkdir(folder);
    const places = ['--root', join(folder, 'root'), '--runroot', join(folder, 'run')];
    const words = [...places, '--storage-driver', 'overlay'];
    let rootfs = '';
    const prepareMs = await timed(async () => {
      const reference = `${host}/app:${tag}`;
      await mustRun('podman', [...words, 'pull', '-q', '--tls-verify=false', reference], { timeoutMs });
      rootfs = (await mustRun('podman', [...words, 'image', 'mount', reference])).stdout.trim();
    });
    const remove = async (): Promise<void> => {
      await run('podman', [...words, 'image', 'unmount', '--all']);
      // What podman itself leaves mounted: its graph root.
      await run('umount', [join(folder, 'root/overlay')]);
      await rm(folder, { recursive: true });
    };
    return { rootfs, prepareMs, remove };
  },
};

export const peers: readonly Peer[] = [umoci, podman].filter((peer) => peer.isHere);

const urls = ({ host, layers }: Ground): string[] =>
  layers.map(({ digest }) => `http://${host}/v2/app/blobs/${digest}`);

/** All layers through `curl | sha256sum`, side by side: what a verified look at an unknown image costs at least. */
export async function curlHashed(ground: Ground): Promise<number> {
  const script = 'for url; do curl -s "$url" | sha256sum >/dev/null & done; wait';
  return timed(() => mustRun('sh', ['-c', script, '-', ...urls(ground)], { timeoutMs }));
}

// A layer may lack its end of archive: tar complains, and has unpacked it.
const untarring = {
  /** Each layer while it arrives: no byte of it is on disk as it was. */
  piped: 'cd "$0" && for url; do curl -s "$url" | tar xz || true; done',
  /** Whoever keeps what was downloaded. */
  kept: 'cd "$0" && for url; do curl -sO "$url"; done; mkdir tree && for url; do tar xzf "./${url##*/}" -C tree || true; done',
} as const;

/** Downloading and unpacking one layer after the other without checking anything; in ms. */
export async function curlUntarred(ground: Ground, how: keyof typeof untarring): Promise<number> {
  const folder = join(ground.directory, 'untarred');
  await mkdir(folder);
  const script = untarring[how];
  const ms = await timed(() => mustRun('sh', ['-c', script, folder, ...urls(ground)], { timeoutMs }));
  await rm(folder, { recursive: true });
  return ms;
}

/** Run an operation in a peer's tree; its time in ms. */
export async function operate(rootfs: string, command: string): Promise<number> {
  return timed(() => mustRun('sh', ['-c', `cd "$0" && ${command}`, rootfs], { timeoutMs }));
}
