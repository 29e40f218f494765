/** The preferred thread: what the kernel says of it, and that nothing it makes inherits it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { getPriority } from 'node:os';
import { test } from 'node:test';
import { loadAddon } from '../../../src/addon/load-addon.js';

const module = new URL('../../../src/addon/prefer-thread.js', import.meta.url).href;
const skip = loadAddon().addon === undefined ? 'needs the addon' : false;

/** Of this process, and its children: tests may run at a nice value of their own. */
const started = getPriority();
const maxNice = 19;

interface Niceness {
  /**
   * What the call said, of this thread, of a child process, the lowest of the threads made afterwards and the highest of
   * those that were there.
   */
  readonly said: number | undefined;
  readonly own: number;
  readonly child: number;
  readonly workers: number;
  readonly helpers: number;
}

/** In a process of its own: a preference lasts as long as its thread. */
function preferIn(command: readonly string[], environment: Record<string, string> = {}): Niceness {
  const program = `
    import { execFileSync } from 'node:child_process';
    import { readFileSync, readdirSync } from 'node:fs';
    import { getPriority } from 'node:os';
    import { Worker } from 'node:worker_threads';
    import { preferThisThread } from ${JSON.stringify(module)};
    // proc(5): behind the name in brackets, nice is the 17th.
    const niceIn = (text) => Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16]);
    const before = new Set(readdirSync('/proc/self/task'));
    const { nice } = preferThisThread(false);
    const child = niceIn(execFileSync('cat', ['/proc/self/stat'], { encoding: 'utf8' }));
    const worker = new Worker('setTimeout(() => {}, 10_000)', { eval: true });
    worker.once('online', () => {
      const made = readdirSync('/proc/self/task').filter((task) => !before.has(task));
      const niceOf = (task) => niceIn(readFileSync('/proc/self/task/' + task + '/stat', 'utf8'));
      const workers = Math.min(...made.map(niceOf));
      const there = [...before].filter((task) => task !== String(process.pid));
      const helpers = Math.max(...there.map(niceOf));
      console.log(JSON.stringify({ said: nice, own: getPriority(), child, workers, helpers }));
      process.exit();
    });`;
  const [first, ...rest] = [...command, process.execPath];
  const result = spawnSync(first, [...rest, '--input-type=module', '-e', program], {
    env: { ...process.env, ...environment },
    encoding: 'utf8',
    timeout: 20_000,
  });
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout) as Niceness;
}

test(
  'a preferred thread makes ordinary threads and children, and those it waits for are preferred as well',
  { skip },
  () => {
    // Back to the ordinary value, where that is allowed: otherwise nice(1) goes on as it is.
    const { said, own, child, workers, helpers } = preferIn(['nice', '-n', String(-started)]);
    assert.equal(own, said);
    // Root has the right to a lower value, except where a container took it.
    assert.ok(said === -10 || said === 0 || said === started, String(said));
    const ordinary = Math.max(0, said);
    assert.deepEqual({ child, workers }, { child: ordinary, workers: ordinary });
    assert.equal(helpers, said);
  },
);

test('who was started with a nice value keeps it', { skip }, () => {
  const nice = Math.min(maxNice, started + 7);
  assert.deepEqual(preferIn(['nice', '-n', '7']), {
    said: nice,
    own: nice,
    child: nice,
    workers: nice,
    helpers: nice,
  });
});

test('without the addon nothing is changed', () => {
  const { said, own } = preferIn([], { IMGFS_ADDON: 'none' });
  assert.equal(said, undefined);
  assert.equal(own, started);
});
