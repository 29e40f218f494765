/** A command with what it cost: time, processor time, and memory at most. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';

export interface Cost {
  readonly seconds: number;
  /** User and system time of it and its children. */
  readonly cpuSeconds: number;
  /** Resident at most, MiB; looked at every 20 ms through the kernel's own high-water mark. */
  readonly peakMebibytes: number;
}

const pollMs = 20;

/** Memory at most of a process so far, MiB; 0 when it is gone. */
export async function peakMebibytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}

/** Processor time of a process so far, in seconds: Linux counts 100 ticks in one. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

/** Run to its end. @throws when it fails. */
export async function measured(
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Cost> {
  const shell = spawn('bash', ['-c', 'TIMEFORMAT="cost %R %U %S"; time "$@"', '-', ...words], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
  });
  let stderr = '';
  shell.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  let peak = 0;
  const look = async (): Promise<void> => {
    for (const pid of await childrenOf(shell.pid ?? 0)) peak = Math.max(peak, await peakMebibytes(pid));
  };
  const timer = setInterval(() => void look(), pollMs);
  const code = await new Promise((resolve) => shell.once('close', resolve));
  clearInterval(timer);
  const match = /cost ([\d.]+) ([\d.]+) ([\d.]+)/.exec(stderr);
  if (code !== 0 || match === null) throw new Error(`${words.join(' ')}: ${stderr}`);
  const [seconds = 0, user = 0, system = 0] = match.slice(1).map(Number);
  return { seconds, cpuSeconds: user + system, peakMebibytes: peak };
}
