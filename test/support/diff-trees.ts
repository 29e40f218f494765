/** `diff -r` of two trees, without what it says of devices. */
import { run } from './child.js';

/** diff calls every two pipes and every two devices different, also one and the same. */
const twoOfAKind = / is a (fifo|block special file|character special file) while file .* is a \1$/;

/** What differs between two directories, and what diff failed with, as text; '' when nothing does. */
export async function diffTrees(left: string, right: string): Promise<string> {
  const { code, stdout, stderr } = await run('diff', ['-r', '--no-dereference', left, right], {
    timeoutMs: 240_000,
  });
  const lines = stdout.split('\n').filter((line) => !twoOfAKind.test(line));
  const trouble = code > 1 || code < 0 ? `diff: exit ${code}\n` : '';
  return `${lines.join('\n')}${stderr}${trouble}`;
}
