/**
 * The last bytes of an eStargz blob: an empty gzip member whose extra field tells where the table of contents is.
 * estargz/gzip.go and estargz/externaltoc of stargz-snapshotter.
 */

/** Where the table of contents is, or that it is elsewhere. */
export type EstargzFooter =
  | { readonly kind: 'inside'; readonly tocOffset: number; readonly footerBytes: number }
  | { readonly kind: 'external'; readonly footerBytes: number };

/** The longest one. */
export const maxFooterBytes = 51;

const header = [0x1f, 0x8b, 8, 4];
/** An empty stored block, the last one; then CRC-32 and length, both zero. */
const trailer = Buffer.from([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);

/** The extra field of a gzip member that is nothing but that; undefined when the bytes are something else. */
function extraOf(member: Buffer): Buffer | undefined {
  if (!header.every((byte, index) => member[index] === byte)) return undefined;
  const length = member.readUInt16LE(10);
  if (member.length !== 12 + length + trailer.length) return undefined;
  return member.subarray(12 + length).equals(trailer) ? member.subarray(12, 12 + length) : undefined;
}

/** What is in the subfield `SG`. */
function subfield(extra: Buffer): string | undefined {
  if (extra.length < 4 || extra.toString('latin1', 0, 2) !== 'SG') return undefined;
  return extra.readUInt16LE(2) === extra.length - 4 ? extra.toString('latin1', 4) : undefined;
}

function offsetIn(text: string): number | undefined {
  const match = /^([0-9a-f]{16})STARGZ$/.exec(text);
  const offset = Number.parseInt(match?.[1] ?? '', 16);
  return Number.isSafeInteger(offset) ? offset : undefined;
}

/** Read a footer at the end of `tail`; undefined when there is none. */
export function parseEstargzFooter(tail: Uint8Array): EstargzFooter | undefined {
  const bytes = Buffer.from(tail.buffer, tail.byteOffset, tail.length);
  const end = (length: number): Buffer => bytes.subarray(Math.max(0, bytes.length - length));
  const member = (length: number): Buffer | undefined =>
    bytes.length < length ? undefined : extraOf(end(length));
  const current = member(maxFooterBytes);
  const tocOffset = current === undefined ? undefined : offsetIn(subfield(current) ?? '');
  if (tocOffset !== undefined) return { kind: 'inside', tocOffset, footerBytes: maxFooterBytes };
  const elsewhere = member(46);
  if (elsewhere !== undefined && subfield(elsewhere) === 'STARGZEXTERNALTOC') {
    return { kind: 'external', footerBytes: 46 };
  }
  // The format before eStargz has no subfield around it.
  const legacy = member(47);
  const legacyOffset = legacy === undefined ? undefined : offsetIn(legacy.toString('latin1'));
  return legacyOffset === undefined
    ? undefined
    : { kind: 'inside', tocOffset: legacyOffset, footerBytes: 47 };
}
