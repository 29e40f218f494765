/** zstd frames of raw blocks (RFC 8878, 3.1.1): valid without a compressor. */

const maxBlock = 128 * 1024;

/** One frame that decodes to `content`. */
export function rawZstdFrame(content: Uint8Array): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32LE(0xfd2fb528, 0);
  // Frame content size in 8 bytes, single segment, no checksum.
  header[4] = 0b1110_0000;
  header.writeBigUInt64LE(BigInt(content.length), 5);
  const parts: Buffer[] = [header];
  for (let at = 0; at === 0 || at < content.length; at += maxBlock) {
    const part = content.subarray(at, at + maxBlock);
    const isLast = at + maxBlock >= content.length;
    const block = Buffer.alloc(3);
    block.writeUIntLE((part.length << 3) | (isLast ? 1 : 0), 0, 3);
    parts.push(block, Buffer.from(part));
  }
  return Buffer.concat(parts);
}

/** A frame that decoders skip. */
export function skippableFrame(content: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a50, 0);
  header.writeUInt32LE(content.length, 4);
  return Buffer.concat([header, content]);
}
