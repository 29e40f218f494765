/** Printing a stream of names with a bound: one per line, or one JSON object per line. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { CommandContext } from './command.js';

/**
 * Print names until there are no more, or `limit` (a number, or undefined for all).
 * @throws ImgfsError `usage` for a limit that is no whole number from 1.
 */
export async function printNames(
  names: AsyncIterable<string>,
  limit: unknown,
  { out }: CommandContext,
  field: string,
): Promise<void> {
  const most = limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
  if (limit !== undefined && (!Number.isInteger(most) || most < 1)) {
    throw new ImgfsError('usage', '--limit must be a whole number from 1');
  }
  let count = 0;
  for await (const name of names) {
    // Through `bytes`, so that a million names wait for a slow reader instead of filling the memory.
    if (out.json) await out.bytes(Buffer.from(`${JSON.stringify({ [field]: name })}\n`));
    else await out.bytes(Buffer.from(`${out.printable(name)}\n`));
    count += 1;
    if (count >= most) return;
  }
}
