/**
 * Lets stock zlib begin at any bit: empty deflate blocks in front fill up the byte.
 *
 * Shifting the data instead would be wrong: stored blocks are aligned to bytes of the original stream. An empty block
 * with fixed codes has 10 bits, which reaches even places; one with codes of its own, 93 bits, reaches odd ones.
 */

class BitWriter {
  readonly bytes: number[] = [];
  length = 0;

  /** Append the low `count` bits, lowest first. */
  write(bits: number, count: number): void {
    for (let at = 0; at < count; at += 1) {
      if (this.length % 8 === 0) this.bytes.push(0);
      const last = this.bytes.length - 1;
      this.bytes[last] = (this.bytes[last] ?? 0) | (((bits >> at) & 1) << (this.length % 8));
      this.length += 1;
    }
  }
}

function writeFixedBlock(writer: BitWriter): void {
  // Not final, fixed codes; then seven zero bits: end of block.
  writer.write(0b010, 3);
  writer.write(0, 7);
}

/** RFC 1951, 3.2.7: the only code is that of the end of the block. */
function writeDynamicBlock(writer: BitWriter): void {
  writer.write(0b100, 3);
  // 257 literal codes, 1 distance code, 18 lengths of the code length alphabet.
  writer.write(0, 5);
  writer.write(0, 5);
  writer.write(14, 4);
  // In the order 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1: symbols 18 and 0 have two bits, 1 has one.
  const lengths = [0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
  for (const length of lengths) writer.write(length, 3);
  // Codes: 1 is `0`, 0 is `10`, 18 is `11`. 256 zeros as runs of 138 and 118, then length 1, then no distance.
  writer.write(0b11, 2);
  writer.write(138 - 11, 7);
  writer.write(0b11, 2);
  writer.write(118 - 11, 7);
  writer.write(0, 1);
  writer.write(0b01, 2);
  // End of block.
  writer.write(0, 1);
}

/**
 * Bytes to put in place of the first byte of a span that begins with the high `bits` (1 to 7) of `firstByte`.
 */
export function bitPrefix(bits: number, firstByte: number): Uint8Array {
  const writer = new BitWriter();
  if (bits % 2 === 1) writeDynamicBlock(writer);
  while (writer.length % 8 !== 8 - bits) writeFixedBlock(writer);
  const last = writer.bytes.length - 1;
  writer.bytes[last] = (writer.bytes[last] ?? 0) | (firstByte & (0xff << (8 - bits)) & 0xff);
  return Uint8Array.from(writer.bytes);
}
