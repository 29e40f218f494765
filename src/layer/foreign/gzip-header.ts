/** Length of a gzip header (RFC 1952, 2.3). */

/** Headers with longer names are nobody's. */
export const maxGzipHeaderBytes = 4096;

/** Undefined when the bytes are no whole header. */
export function gzipHeaderBytes(bytes: Uint8Array): number | undefined {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b || bytes[2] !== 8 || bytes.length < 10) return undefined;
  const flags = bytes[3] ?? 0;
  let at = 10;
  if ((flags & 4) !== 0) at += 2 + (bytes[at] ?? 0) + 256 * (bytes[at + 1] ?? 0);
  for (const flag of [8, 16]) {
    if ((flags & flag) === 0) continue;
    const end = bytes.indexOf(0, at);
    if (end < 0) return undefined;
    at = end + 1;
  }
  if ((flags & 2) !== 0) at += 2;
  return at <= bytes.length ? at : undefined;
}
