/** Reading small bodies whole, and letting go of bodies nobody wants. */
import { ImgfsError, type ErrorContext } from '../../../errors/imgfs-error.js';
import type { AnswerBody } from './answer-body.js';

/**
 * The whole body in memory.
 * @throws ImgfsError `too-large` above `maxBytes`, `timeout` after `timeoutMs`, and what the body throws.
 */
export async function readBody(
  body: AnswerBody,
  maxBytes: number,
  timeoutMs: number,
  context: ErrorContext,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const what = context.operation ?? 'read answer';
  const timer = setTimeout(() => {
    body.fail(new ImgfsError('timeout', `${what}: answer not complete after ${timeoutMs} ms`, context));
    body.cancel();
  }, timeoutMs);
  try {
    for await (const chunk of body) {
      size += chunk.length;
      if (size > maxBytes) {
        throw new ImgfsError('too-large', `${what}: answer is longer than ${maxBytes} bytes`, context);
      }
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks, size);
}

/** At most this much is read so that the connection can be used again; a new one costs about as much. */
const drainBytes = 64 * 1024;
const drainTimeoutMs = 1000;

/** Read a short rest so that the connection can be used again; cancel a long or slow one. Never throws. */
export async function discardBody(body: AnswerBody): Promise<void> {
  try {
    await readBody(body, drainBytes, drainTimeoutMs, {});
  } catch {
    body.cancel();
  }
}

/** The beginning of a body, for a message. Never throws. */
export async function readBeginning(body: AnswerBody, maxBytes: number, timeoutMs: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const timer = setTimeout(() => body.cancel(), timeoutMs);
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= maxBytes) break;
    }
  } catch {
    // What has arrived is enough for a message.
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks, size).subarray(0, maxBytes);
}
