/** containerd and dockerd of this machine, with everything they touch in a directory of the test. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { keep, mustRun, run } from './child.js';

export interface Containerd {
  readonly root: string;
  /** Run ctr in a namespace. */
  ctr(namespace: string, ...words: string[]): Promise<void>;
}

/** Run in the reverse order at the end of the test. */
type Cleanups = (() => Promise<unknown>)[];

const startMs = 20_000;

/** Start containerd; `cleanups` end it. */
export async function startContainerd(cleanups: Cleanups, directory: string): Promise<Containerd> {
  const [root, address] = [join(directory, 'root'), join(directory, 'c.sock')];
  await mkdir(directory, { recursive: true });
  const config = [
    'version = 2',
    `root = "${root}"`,
    `state = "${join(directory, 'state')}"`,
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
    `[grpc]\naddress = "${address}"`,
    `[ttrpc]\naddress = "${join(directory, 't.sock')}"`,
  ];
  await writeFile(join(directory, 'config.toml'), config.join('\n'));
  const child = keep('containerd', ['-c', join(directory, 'config.toml')]);
  cleanups.push(() => child.stop());
  await child.waitFor(/successfully booted/, startMs);
  return {
    root,
    ctr: async (namespace, ...words) => {
      await mustRun('ctr', ['-a', address, '-n', namespace, ...words]);
    },
  };
}

/** Start dockerd without a network; gives its socket, or why it does not run here. */
export async function startDockerd(
  cleanups: Cleanups,
  directory: string,
): Promise<{ socket: string } | { why: string }> {
  await mkdir(directory, { recursive: true });
  const socket = join(directory, 'd.sock');
  const child = keep('dockerd', [
    '--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec'), '--pidfile', join(directory, 'pid'),
    '-H', `unix://${socket}`, '--bridge', 'none', '--iptables=false', '--ip-masq=false', '--storage-driver', 'vfs',
  ]); // prettier-ignore
  cleanups.push(() => child.stop());
  try {
    await child.waitFor(/API listen on/, startMs);
    return { socket };
  } catch {
    return { why: `dockerd does not run here: ${child.output().slice(-300)}` };
  }
}

/** Unmount what an engine left mounted below a directory, deepest first. */
export async function unmountBelow(directory: string): Promise<void> {
  const { stdout } = await run('findmnt', ['-rno', 'TARGET']);
  const targets = stdout.split('\n').filter((target) => target.startsWith(`${directory}/`));
  for (const target of targets.toReversed()) await run('umount', ['-l', target]);
}
