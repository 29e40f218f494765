/**
 * Starting the daemon: a detached child that serves the mount, and a parent that returns when the child says
 * that it is mounted.
 *
 * The settings go to the child on stdin, so that `ps` shows no credential; its answer comes back as one JSON
 * line on descriptor 3. After that the child has no tie to the parent's terminal.
 */
import { spawn } from 'node:child_process';
import { openSync, closeSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Readable, Writable } from 'node:stream';
import { codeFacts, type ErrorCode } from '../../errors/codes.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { MountSettings, ReadyMessage } from './mount-settings.js';

/**
 * Node lets what is young grow to 48 MiB before it looks at it. What this process makes is short-lived or outside the
 * heap: with 6 MiB `imgfs tags` stayed at 119 MiB resident instead of 140, in the same time.
 */
const youngGeneration = '--max-semi-space-size=2';

/**
 * Of so little one thread collects what is young in 1 to 3 ms. Several take as long as the slowest of them waits for a
 * processor, and JavaScript waits for that: beside threads that decode, up to 250 ms were seen.
 */
const collectAlone = '--no-parallel-scavenge';

/**
 * By itself V8 lets the old generation grow to three times what was alive in it, mostly what is young only for lack of
 * room there. `grep -r` over an image of 42,000 files (42 MB alive): 57 MB of heap instead of 134.
 */
const oldGeneration = '--heap-growing-percent=30';

/**
 * Helpers that JavaScript waits for when the old generation was collected: up to 17 ms where all processors are busy. They
 * mark beside it, and sweep: when JavaScript marked alone, a read over TLS at 400 MiB/s took 143 and 164 MiB of resident memory
 * instead of 119 and 130; sweeping (`--single-threaded-gc`) took it 8 ms at a time.
 */
const compactAlone = ['--no-parallel-compaction', '--no-parallel-pointer-update'];

/**
 * V8 collects everything anew some seconds after the last work, with as little memory as it can: 13 to 17 ms at a time in which
 * nothing else runs, just when the next command comes. The old generation is bounded by `oldGeneration` already.
 */
const rest = '--no-memory-reducer';

/** How V8 keeps the heap of a daemon. */
export const heapFlags = [youngGeneration, collectAlone, oldGeneration, ...compactAlone, rest];

/**
 * Threads of V8: what they still do is compile what is hot, mark and sweep. A collection waits until each of them has come to a
 * stop, four of which take turns on two processors.
 */
const helperThreads = '--v8-pool-size=1';

/** Mounting takes well under a second without a network; a machine that swaps gets this long. */
const readyTimeoutMs = 30_000;

/** Longest answer that is believed: an error text. */
const maxAnswerBytes = 64 * 1024;

function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(codeFacts, text);
}

function parseAnswer(text: string, settings: MountSettings): ReadyMessage & { ok: true } {
  let answer: ReadyMessage;
  try {
    answer = JSON.parse(text) as ReadyMessage;
  } catch {
    throw new ImgfsError('mount-unavailable', 'the daemon ended before it was mounted', {
      path: settings.mountPoint,
      hint:
        settings.logFile === undefined
          ? 'run it with --foreground to see why'
          : `see ${settings.logFile}, or run it with --foreground`,
    });
  }
  if (answer.ok) return answer;
  const code = isErrorCode(answer.code) ? answer.code : 'mount-unavailable';
  throw new ImgfsError(code, answer.message, answer.hint === undefined ? {} : { hint: answer.hint });
}

async function readAnswer(stream: Readable, signal: AbortSignal): Promise<string> {
  let text = '';
  stream.setEncoding('utf8');
  const stop = (): void => void stream.destroy();
  const timer = setTimeout(stop, readyTimeoutMs);
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of stream) {
      text += String(chunk);
      if (text.includes('\n') || text.length > maxAnswerBytes) break;
    }
  } catch {
    // Destroyed by the timer or by the signal: what came so far is judged by the caller.
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
  return text;
}

/**
 * Start the daemon and wait until it is mounted.
 * @throws ImgfsError with the daemon's own reason, or `mount-unavailable` when it died or said nothing.
 */
export async function startDaemon(
  settings: MountSettings,
  signal: AbortSignal,
): Promise<ReadyMessage & { ok: true }> {
  const main = fileURLToPath(new URL('./daemon-main.js', import.meta.url));
  if (settings.logFile !== undefined) mkdirSync(dirname(settings.logFile), { recursive: true, mode: 0o700 });
  const log = settings.logFile === undefined ? 'ignore' : openSync(settings.logFile, 'a', 0o600);
  const child = spawn(process.execPath, [...heapFlags, helperThreads, main, settings.mountPoint], {
    detached: true,
    stdio: ['pipe', log, log, 'pipe'],
  });
  if (typeof log === 'number') closeSync(log);
  const failure = new Promise<never>((_, reject) => {
    child.once('error', (error) => {
      reject(
        new ImgfsError('mount-unavailable', 'start the daemon: node could not be run', { cause: error }),
      );
    });
  });
  (child.stdin as Writable).end(JSON.stringify(settings));
  const ready = child.stdio[3] as Readable;
  const text = await Promise.race([readAnswer(ready, signal), failure]);
  try {
    return parseAnswer(text, settings);
  } catch (error) {
    // A daemon that never said yes must not linger with half a mount.
    child.kill('SIGTERM');
    throw error;
  } finally {
    ready.destroy();
    child.unref();
  }
}
