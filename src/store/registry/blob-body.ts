/**
 * The body of a blob or manifest: checked against what was asked for, and gone on with after a cut.
 *
 * A cut connection costs only what was in flight: the rest is asked for with a range, until the budget is used up.
 */
import { ImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import type { Body, ByteRange, FileTarget } from '../store.js';
import type { Reply } from './client.js';
import { parseContentRange } from './http/content-range.js';
import { contentLength, headerValue } from './http/headers.js';
import { readBuffers } from './http/read-buffers.js';
import { mayRetry } from './http/retry.js';

/** What `open` is asked for; undefined for the whole. */
export type OpenRange = (range: ByteRange | undefined) => Promise<Reply>;

export interface BodyPlan {
  readonly operation: string;
  readonly range: ByteRange | undefined;
  /** Size by the descriptor, in bytes. */
  readonly size: number;
  readonly open: OpenRange;
  /** Consecutive cuts without progress to bear. */
  readonly resumes: number;
}

const operatorHint = 'report this to the operator of the registry or of the proxy in front of it';

/** Progress of this much earns a new set of resumes: a link that breaks every minute still gets there. */
const progressBytes = 1024 * 1024;

/** Where the bytes of an answer lie. */
interface Placement {
  readonly start: number;
  readonly end: number | undefined;
  readonly totalSize: number | undefined;
}

function wrongSize(reply: Reply, operation: string, size: number, said: number): ImgfsError {
  return new ImgfsError(
    'integrity',
    `${operation} from ${reply.url.host}: the server has ${said} bytes, the descriptor says ${size}`,
    { ...reply.context, hint: 'the image is damaged at the registry: push it anew, or use another mirror' },
  );
}

/** Place a 206, checking that it is a part of what was asked for. */
function placePart(reply: Reply, plan: BodyPlan, asked: ByteRange): Placement {
  const range = parseContentRange(headerValue(reply.headers, 'content-range'));
  const length = contentLength(reply.headers);
  const good =
    range?.start === asked.start &&
    range.end !== undefined &&
    range.end <= asked.end &&
    (length === undefined || length === range.end - range.start);
  if (!good || range.end === undefined) {
    throw new ImgfsError(
      'protocol',
      `${plan.operation} from ${reply.url.host}: asked for bytes ${asked.start}-${asked.end - 1}, got ${
        headerValue(reply.headers, 'content-range')?.slice(0, 80) ?? 'a part without a range'
      }`,
      { ...reply.context, hint: operatorHint },
    );
  }
  if (range.totalSize !== undefined && range.totalSize !== plan.size) {
    throw wrongSize(reply, plan.operation, plan.size, range.totalSize);
  }
  return { start: asked.start, end: range.end, totalSize: range.totalSize };
}

/** Place an answer, or cancel it and say why not. */
function place(reply: Reply, plan: BodyPlan, asked: ByteRange | undefined): Placement {
  try {
    if (reply.status === 416) {
      // The body is not read: docker-registry announces the blob's length for it and sends 33 bytes.
      const size = parseContentRange(headerValue(reply.headers, 'content-range'))?.totalSize;
      if (size !== undefined && size !== plan.size) throw wrongSize(reply, plan.operation, plan.size, size);
      throw new ImgfsError(
        'protocol',
        `${plan.operation} from ${reply.url.host}: ${
          asked === undefined ? 'the whole blob' : `bytes ${asked.start}-${asked.end - 1}`
        } refused (416)`,
        { ...reply.context, hint: operatorHint },
      );
    }
    if (reply.status === 206) {
      if (asked !== undefined) return placePart(reply, plan, asked);
      throw new ImgfsError(
        'protocol',
        `${plan.operation}: a part was sent, the whole was asked for`,
        reply.context,
      );
    }
    const length = contentLength(reply.headers);
    if (length !== undefined && length !== plan.size)
      throw wrongSize(reply, plan.operation, plan.size, length);
    return { start: 0, end: length, totalSize: length };
  } catch (error) {
    reply.doubt();
    reply.body.cancel();
    throw error;
  }
}

/** A body under way, able to go on with a new answer. */
class ResumingBody implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array, undefined> {
  readonly #plan: BodyPlan;
  #reply: Reply;
  /** Offset in the blob of the next byte that our consumer gets. */
  #position: number;
  /** Where the body must end, exclusive. */
  readonly #end: number;
  /** Bytes of the present answer that lie before `#position`: a server that ignored the range of a resume. */
  #skip = 0;
  #resumesLeft: number;
  #progress = 0;
  #cancelled = false;

  constructor(plan: BodyPlan, reply: Reply, placement: Placement) {
    this.#plan = plan;
    this.#reply = reply;
    this.#position = placement.start;
    this.#end = placement.end ?? plan.size;
    this.#resumesLeft = plan.resumes;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    for (;;) {
      try {
        const { done, value } = await this.#reply.body.next();
        if (done === true) {
          if (this.#position === this.#end || this.#cancelled) return { done: true, value: undefined };
          throw this.#error('unavailable', `ended at byte ${this.#position} of ${this.#end}`);
        }
        const chunk = this.#unskipped(value);
        if (chunk.length === 0) continue;
        if (this.#position + chunk.length > this.#end) {
          throw this.#error('integrity', `more bytes than the ${this.#plan.size} of the descriptor`);
        }
        this.#position += chunk.length;
        this.#noteProgress(chunk.length);
        return { done: false, value: chunk };
      } catch (error) {
        this.#reply.doubt();
        this.#reply.body.cancel();
        await this.#resume(toImgfsError(error));
      }
    }
  }

  /** True when what comes can go to a file by itself: nothing of it is to be left out. */
  get canReceive(): boolean {
    return this.#reply.body.canReceive;
  }

  async receive({ fd, digest, onWritten }: FileTarget): Promise<number> {
    const offset = this.#position;
    const written = await this.#reply.body.receive({
      fd,
      offset,
      digest,
      onWritten: (bytes) => onWritten(offset + bytes),
    });
    this.#position += written;
    this.#noteProgress(written);
    return this.#position;
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.cancel();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  cancel(): void {
    this.#cancelled = true;
    this.#reply.body.cancel();
  }

  #unskipped(chunk: Uint8Array): Uint8Array {
    const skipped = Math.min(this.#skip, chunk.length);
    this.#skip -= skipped;
    return skipped === 0 ? chunk : chunk.subarray(skipped);
  }

  #noteProgress(bytes: number): void {
    this.#progress += bytes;
    if (this.#progress < progressBytes) return;
    this.#progress = 0;
    this.#resumesLeft = this.#plan.resumes;
  }

  async #resume(error: ImgfsError): Promise<void> {
    // A body fails with status 200 on it: what counts is that it was cut, not how it began.
    const transport = new ImgfsError(error.code, error.message, { cause: error.cause });
    if (this.#cancelled || this.#resumesLeft <= 0 || !mayRetry(transport, true)) throw error;
    this.#resumesLeft -= 1;
    const range = { start: this.#position, end: this.#end };
    const reply = await this.#plan.open(range);
    const placement = place(reply, this.#plan, range);
    this.#skip = this.#position - placement.start;
    this.#reply = reply;
    if (this.#cancelled) reply.body.cancel();
  }

  #error(code: 'unavailable' | 'integrity', text: string): ImgfsError {
    const { context, url } = this.#reply;
    return new ImgfsError(code, `${this.#plan.operation} from ${url.host}: ${text}`, context);
  }
}

/**
 * Open a body.
 * @throws ImgfsError `integrity` when the server's size is not the descriptor's, `protocol` for a range that is not
 *   the one asked for, `invalid` for one that cannot be, and what `open` throws.
 */
export async function openBody(plan: BodyPlan): Promise<Body> {
  const { range, size } = plan;
  if (range !== undefined && !(range.start >= 0 && range.start < range.end && range.end <= size)) {
    throw new ImgfsError(
      'invalid',
      `${plan.operation}: no range ${range.start}-${range.end} in ${size} bytes`,
    );
  }
  const whole = range === undefined || (range.start === 0 && range.end === size);
  const asked = whole ? undefined : range;
  const reply = await plan.open(asked);
  const placement = place(reply, plan, asked);
  const chunks = new ResumingBody(plan, reply, placement);
  return {
    ...placement,
    chunks,
    ...(chunks.canReceive ? { receive: (target: FileTarget) => chunks.receive(target) } : {}),
    release: (chunk) => readBuffers.release(chunk),
    cancel: () => chunks.cancel(),
  };
}
