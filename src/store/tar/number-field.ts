/**
 * Numbers in tar headers: octal text, or base-256 two's complement when the first bit is set (GNU).
 * What is accepted follows Go's archive/tar, which is what container runtimes unpack with.
 */

const space = 0x20;

/** Octal text; blanks and NULs around it are skipped, a NUL ends it. Undefined when it is not a number. */
export function parseOctal(field: Uint8Array): number | undefined {
  let start = 0;
  let end = field.length;
  while (start < end && (field[start] === 0 || field[start] === space)) start += 1;
  while (end > start && (field[end - 1] === 0 || field[end - 1] === space)) end -= 1;
  let value = 0;
  for (let at = start; at < end; at += 1) {
    const byte = field[at] ?? 0;
    if (byte === 0) return at === start ? undefined : value;
    if (byte < 0x30 || byte > 0x37) return undefined;
    value = value * 8 + (byte - 0x30);
  }
  return value;
}

/** Base-256: bit 7 of the first byte is the mark, bit 6 the sign. Undefined when it exceeds 64 bits. */
function parseBase256(field: Uint8Array): bigint | undefined {
  const inverted = ((field[0] ?? 0) & 0x40) === 0 ? 0 : 0xff;
  let value = 0n;
  for (const [index, raw] of field.entries()) {
    const byte = (raw ^ inverted) & (index === 0 ? 0x7f : 0xff);
    value = (value << 8n) | BigInt(byte);
  }
  if (value >> 63n !== 0n) return undefined;
  return inverted === 0 ? value : -value - 1n;
}

/** A numeric header field in either form. Undefined when it is malformed. */
export function parseNumber(field: Uint8Array): bigint | undefined {
  if (((field[0] ?? 0) & 0x80) !== 0) return parseBase256(field);
  const octal = parseOctal(field);
  return octal === undefined ? undefined : BigInt(octal);
}

/** Decimal digits with an optional minus sign, within 64 bits. Undefined for everything else. */
export function parseDecimal(text: string): bigint | undefined {
  if (!/^-?[0-9]{1,19}$/.test(text)) return undefined;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value ? value : undefined;
}

/** A count of bytes or entries: not negative, exactly representable. Undefined otherwise. */
export function safeCount(value: bigint | undefined): number | undefined {
  if (value === undefined || value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return Number(value);
}
