/** Child processes of tests: run one to its end, or keep one and stop it by its pid. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface RunOptions {
  readonly cwd?: string;
  /** Added to this process's environment; undefined removes. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string | Uint8Array;
  /** Default 60 s. */
  readonly timeoutMs?: number;
}

export interface RunResult {
  /** Exit code; -1 when it was killed or never started. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Run to the end; a code other than 0 is an answer, not an error. */
export async function run(
  command: string,
  parameters: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      parameters,
      {
        cwd: options.cwd,
        env: { ...process.env, ...options.env },
        timeout: options.timeoutMs ?? 60_000,
        maxBuffer: 64 * 1024 * 1024,
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ code, stdout, stderr: code === -1 ? `${stderr}${error?.message ?? ''}` : stderr });
      },
    );
    // A command that does not read its input closes it: that is no failure.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
  });
}

/** Run, and fail the test with everything the command said when it does not end well. */
export async function mustRun(
  command: string,
  parameters: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const result = await run(command, parameters, options);
  if (result.code === 0) return result;
  throw new Error(
    `${command} ${parameters.join(' ')}: exit ${result.code}\n${result.stdout}${result.stderr}`,
  );
}

/** True when the command is on PATH. */
export function hasCommand(name: string): boolean {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .some((folder) => folder !== '' && existsSync(join(folder, name)));
}

/** Reason to skip a test that needs these commands, for node:test's `skip`; false when all are there. */
export function skipWithout(...names: string[]): string | false {
  const missing = names.filter((name) => !hasCommand(name));
  return missing.length === 0 ? false : `needs ${missing.join(', ')} (scripts/test installs it)`;
}

export interface KeptChild {
  readonly child: ChildProcess;
  /** Everything written so far, stdout and stderr together. */
  output(): string;
  /** First match of the pattern in the output. @throws when it ends, or the time is over, before. */
  waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray>;
  /** Ask to end, then insist. Resolves when it is gone. */
  stop(): Promise<void>;
}

const graceMs = 5_000;

/** Start a process that stays until `stop`, at the latest until this process ends. */
export function keep(
  command: string,
  parameters: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string | undefined>> } = {},
): KeptChild {
  const child = spawn(command, parameters, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  const waiting: (() => void)[] = [];
  let ended = false;
  const wake = (): void => {
    for (const go of waiting.splice(0)) go();
  };
  const collect = (chunk: Buffer): void => {
    text += chunk.toString();
    wake();
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const gone = new Promise<void>((resolve) => {
    const finish = (why: string): void => {
      text += why;
      ended = true;
      wake();
      resolve();
    };
    child.once('error', (error) => finish(`\n[${command}: ${error.message}]`));
    child.once('exit', (code, signal) => finish(`\n[${command} ended: ${code ?? signal}]`));
  });
  const killNow = (): void => void child.kill('SIGKILL');
  process.once('exit', killNow);
  void gone.then(() => process.off('exit', killNow));
  return {
    child,
    output: () => text,
    waitFor: async (pattern, timeoutMs) => {
      const until = Date.now() + timeoutMs;
      for (;;) {
        const match = pattern.exec(text);
        if (match !== null) return match;
        const left = until - Date.now();
        if (ended || left <= 0) throw new Error(`${command}: no ${String(pattern)} in:\n${text}`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, left);
          waiting.push(() => {
            clearTimeout(timer);
            resolve();
          });
        });
      }
    },
    stop: async () => {
      if (ended) return;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await gone;
      clearTimeout(timer);
    },
  };
}
