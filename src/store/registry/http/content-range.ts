/** `Content-Range` of an answer, and the `Range` header with which registries report how far an upload is. */

export interface ContentRange {
  /** Undefined in the form of a 416: `bytes * /N`. */
  readonly start: number | undefined;
  /** Exclusive. */
  readonly end: number | undefined;
  /** Undefined when the server wrote `*`. */
  readonly totalSize: number | undefined;
}

const pattern = /^bytes[ =]+(?:([0-9]{1,15})-([0-9]{1,15})|\*)\/([0-9]{1,15}|\*)$/i;

/** Undefined when the header is absent, malformed or contradicts itself. */
export function parseContentRange(value: string | undefined): ContentRange | undefined {
  const match = value === undefined ? null : pattern.exec(value.trim());
  if (match === null) return undefined;
  const totalSize = match[3] === '*' ? undefined : Number(match[3]);
  if (match[1] === undefined) {
    return totalSize === undefined ? undefined : { start: undefined, end: undefined, totalSize };
  }
  const start = Number(match[1]);
  const end = Number(match[2]) + 1;
  if (end <= start || (totalSize !== undefined && end > totalSize)) return undefined;
  return { start, end, totalSize };
}

/**
 * Bytes that a registry says it has of an upload, from `Range: 0-<last>` (some write `bytes=0-<last>`).
 * `0-0` is ambiguous: registries send it for no byte and for one. Undefined when absent or unreadable.
 */
export function parseUploadRange(value: string | undefined): number | undefined {
  const match = value === undefined ? null : /^(?:bytes[ =])?0-([0-9]{1,15})$/.exec(value.trim());
  return match === null ? undefined : Number(match[1]) + 1;
}
