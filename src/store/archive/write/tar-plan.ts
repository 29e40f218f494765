/**
 * A tar file that exists only as a plan: members whose sizes are known beforehand, so that its size is known before a
 * byte is read, and any range of it can be made by itself. Written to a file, streamed, or read at an offset.
 */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import type { Digest } from '../../../oci/digest.js';
import { clipRange } from '../../file-body.js';
import type { Body, ByteRange, CallOptions } from '../../store.js';
import { blockBytes } from '../tar-header.js';
import { memberHeader } from './member-header.js';

/** Content that lies somewhere else. */
export interface MemberBlob {
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
  /** Start reading a range that is not empty. The store may answer with more, as {@link Body} says. */
  open(range: ByteRange, options: CallOptions): Promise<Body>;
}

export interface PlannedMember {
  readonly name: string;
  readonly content: Uint8Array | MemberBlob;
}

/** A piece of the file: bytes in memory, a blob, or zeros. */
export interface PlanSegment {
  /** Where it is in the file. */
  readonly start: number;
  readonly end: number;
  /** Undefined: zeros. */
  readonly content: Uint8Array | MemberBlob | undefined;
}

/** Two blocks of zeros end an archive; GNU tar and docker accept it without padding to 10 KiB. */
const endBytes = 2 * blockBytes;

/** Zeros between members: at most this many at once. */
const zeros = new Uint8Array(endBytes);

export class TarPlan {
  /** Of the whole file, in bytes. */
  readonly size: number;
  /** In order, without gaps. */
  readonly segments: readonly PlanSegment[];

  /** Use {@link planTar}. */
  constructor(segments: readonly PlanSegment[]) {
    this.segments = segments;
    this.size = segments.at(-1)?.end ?? 0;
  }

  /**
   * The bytes of a range, in order, none of them verified; all of it by default.
   * @throws ImgfsError `invalid` for a range outside, `protocol` when a blob has other bytes than were planned, what
   *   opening a blob throws.
   */
  async *read(range?: ByteRange, options: CallOptions = {}): AsyncGenerator<Uint8Array> {
    const { start, end } = clipRange(range, this.size);
    for (let at = this.segmentAt(start); at < this.segments.length; at += 1) {
      const segment = this.segments[at];
      if (segment === undefined || segment.start >= end) return;
      yield* readSegment(
        segment,
        {
          start: Math.max(start, segment.start) - segment.start,
          end: Math.min(end, segment.end) - segment.start,
        },
        options,
      );
    }
  }

  /** Index of the segment with the byte at `offset`. */
  private segmentAt(offset: number): number {
    let [low, high] = [0, this.segments.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.segments[middle]?.end ?? 0) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Lay members out one behind the other. @throws ImgfsError `internal` for a name that comes twice. */
export async function planTar(members: readonly PlannedMember[]): Promise<TarPlan> {
  const segments: PlanSegment[] = [];
  let at = 0;
  const add = (content: PlanSegment['content'], size: number): void => {
    if (size > 0) segments.push({ start: at, end: at + size, content });
    at += size;
  };
  const names = new Set<string>();
  for (const { name, content } of members) {
    if (names.has(name)) throw new ImgfsError('internal', `plan archive: ${name} is there twice`);
    names.add(name);
    const size = contentSize(content);
    const header = await memberHeader({ name, size });
    add(header, header.length);
    add(content, size);
    add(undefined, (blockBytes - (size % blockBytes)) % blockBytes);
  }
  add(undefined, endBytes);
  return new TarPlan(segments);
}

export function contentSize(content: Uint8Array | MemberBlob): number {
  return content instanceof Uint8Array ? content.length : content.size;
}

async function* readSegment(
  { content }: PlanSegment,
  range: ByteRange,
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  if (content === undefined) yield zeros.subarray(0, range.end - range.start);
  else if (content instanceof Uint8Array) yield content.subarray(range.start, range.end);
  else yield* readBlob(content, range, options);
}

/** Exactly the range, whatever more a server sends. */
async function* readBlob(
  blob: MemberBlob,
  { start, end }: ByteRange,
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  const body = await blob.open({ start, end }, options);
  let at = body.start;
  try {
    for await (const chunk of body.chunks) {
      const from = Math.max(start - at, 0);
      const until = Math.min(end - at, chunk.length);
      if (until > from) yield chunk.subarray(from, until);
      at += chunk.length;
      if (at >= end) break;
    }
  } finally {
    body.cancel();
  }
  if (at < end || body.start > start) {
    throw new ImgfsError(
      'protocol',
      `read ${blob.digest}: bytes ${body.start} to ${at} instead of ${start} to ${end}`,
      {
        digest: blob.digest,
      },
    );
  }
}
