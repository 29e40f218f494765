/** A range of a blob into memory, unverified: resumed where it broke, never more than was asked for. */
import type { ByteRange } from '../store/store.js';
import type { BlobSource } from './content.js';
import { FetchWindow, type WindowSink } from './fetch-window.js';
import { checkSignal, untilAborted } from '../errors/aborted.js';

/** Takes bytes in order, each once, however often a server starts anew. */
export type TakeBytes = (bytes: Uint8Array) => void | Promise<void>;

/**
 * Hand the bytes of a range on in order, as they arrive. `fresh`: the last answer was wrong, the store is to rely on
 * nothing it remembers.
 * @throws ImgfsError whatever the store throws; `protocol`, `integrity`; `interrupted` when the signal fires.
 */
export async function streamRange(
  source: BlobSource,
  range: ByteRange,
  take: TakeBytes,
  signal: AbortSignal | undefined,
  { fresh = false }: { readonly fresh?: boolean } = {},
): Promise<void> {
  if (range.start >= range.end) return;
  let next = range.start;
  const sink: WindowSink = {
    size: source.descriptor.size,
    takesAll: false,
    fresh,
    prepare: () => Promise.resolve(),
    accept: async (_window, position, buffers) => {
      let at = position;
      for (const buffer of buffers) {
        const end = Math.min(at + buffer.length, range.end);
        if (end > next) {
          const part = buffer.subarray(next - at, end - at);
          next = end;
          await take(part);
        }
        at += buffer.length;
      }
      // `take` may have kept them.
      return false;
    },
    ended: () => undefined,
  };
  checkSignal(signal);
  const window = new FetchWindow(sink, source, range.start, range.end);
  try {
    await untilAborted(window.finished, signal);
  } finally {
    window.cancel();
  }
  if (window.error !== undefined) throw window.error;
}

/** The bytes of a range. @throws as {@link streamRange}. */
export async function receiveRange(
  source: BlobSource,
  range: ByteRange,
  signal: AbortSignal | undefined,
  options: { readonly fresh?: boolean } = {},
): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(range.end - range.start);
  let at = 0;
  await streamRange(
    source,
    range,
    (part) => {
      bytes.set(part, at);
      at += part.length;
    },
    signal,
    options,
  );
  return bytes;
}
