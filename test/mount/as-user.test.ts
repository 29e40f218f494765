/**
 * The mounted suites once more as an ordinary user, through fusermount3: by root, which becomes somebody else for it.
 * Where the tests run as an ordinary user, the suites themselves are that.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { run, skipWithout } from '../support/child.js';
import { skipWithoutMount, type DriverName } from '../support/mounted.js';

/** nobody, in Debian and elsewhere. */
const userId = '65534';

const suiteTimeoutMs = 300_000;

/**
 * In a mount namespace of its own: /dev/fuse is open to everybody, as on an ordinary system, and temporary files lie
 * on a file system that goes with it. Homes of others stay closed.
 */
const asUser = `
  set -e
  dir=$(mktemp -d); chmod 777 "$dir"
  mount -t tmpfs none "$dir"; chmod 1777 "$dir"
  mknod -m 666 "$dir/fuse" c 10 229; mount --bind "$dir/fuse" /dev/fuse
  mkdir -m 777 "$dir/tmp"
  exec env -u NODE_TEST_CONTEXT HOME="$dir/tmp" TMPDIR="$dir/tmp" XDG_RUNTIME_DIR="$dir/tmp" \
    setpriv --reuid=${userId} --regid=${userId} --clear-groups "$@"`;

const suites: readonly (readonly [string, DriverName])[] = [
  ['native.test.js', 'native'],
  ['native-threads.test.js', 'native'],
  ['fuse-native.test.js', 'fuse-native'],
  ['file-system.test.js', 'native'],
  ['writing.test.js', 'native'],
];

describe('mounted as an ordinary user', () => {
  const needed =
    process.getuid?.() === 0
      ? skipWithout('unshare', 'setpriv', 'mknod', 'fusermount3')
      : 'needs root, to become somebody else: the suites ran as an ordinary user already';
  for (const [suite, driver] of suites) {
    const file = new URL(`./${suite}`, import.meta.url).pathname;
    const skip = needed || skipWithoutMount(driver);
    test(`${suite} passes through fusermount3`, { timeout: suiteTimeoutMs, skip }, async (t) => {
      const { code, stdout, stderr } = await run(
        'unshare',
        ['-m', 'sh', '-c', asUser, 'sh', process.execPath, '--test', file],
        { timeoutMs: suiteTimeoutMs - 10_000 },
      );
      assert.equal(code, 0, `${stdout}${stderr}`.slice(-6_000));
      const count = (what: string): number =>
        Number(new RegExp(`^# ${what} (\\d+)`, 'm').exec(stdout)?.[1] ?? 0);
      t.diagnostic(`user ${userId}: ${count('pass')} passed, ${count('skipped')} skipped`);
      assert.ok(count('pass') > 0 && count('fail') === 0);
    });
  }
});
