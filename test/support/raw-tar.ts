/** Tar archives byte by byte, also those that no proper tool would write. */

export interface RawHeader {
  readonly name?: string | Uint8Array;
  readonly mode?: number | string;
  readonly uid?: number | Uint8Array;
  readonly gid?: number | Uint8Array;
  /** What the size field says: by default the length of the data. Bytes are put in as they are. */
  readonly size?: number | string | Uint8Array;
  readonly mtime?: number | Uint8Array;
  /** Default `0`. */
  readonly type?: string;
  readonly linkName?: string | Uint8Array;
  readonly format?: 'ustar' | 'gnu' | 'v7' | 'star';
  readonly prefix?: string;
  readonly devMajor?: number;
  readonly devMinor?: number;
  /** Bytes written over the block before the checksum is made. */
  readonly patches?: readonly (readonly [offset: number, bytes: string | Uint8Array])[];
  /** Default `unsigned`. */
  readonly checksum?: 'unsigned' | 'signed' | 'wrong';
}

const latin1 = (text: string | Uint8Array): Uint8Array =>
  typeof text === 'string' ? Buffer.from(text, 'latin1') : text;

function numeric(value: number | string | Uint8Array, width: number): Uint8Array {
  if (typeof value !== 'number') return latin1(value);
  return latin1(value.toString(8).padStart(width - 1, '0') + '\0');
}

const magics = { ustar: 'ustar\x0000', star: 'ustar\x0000', gnu: 'ustar  \0', v7: '' } as const;

function checksum(block: Uint8Array, kind: 'unsigned' | 'signed' | 'wrong'): number {
  const sum = block.reduce((total, byte) => total + (kind === 'signed' && byte > 127 ? byte - 256 : byte), 0);
  return kind === 'wrong' ? sum + 1 : sum;
}

/** A number in base-256, two's complement, in a field of `width` bytes. */
export function base256(value: bigint, width: number): Uint8Array {
  const bytes = new Uint8Array(width);
  let rest = BigInt.asUintN(width * 8, value);
  for (let at = width - 1; at >= 0; at -= 1) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return bytes;
}

/** One header block. */
export function rawHeader(header: RawHeader, dataLength = 0): Uint8Array {
  const block = Buffer.alloc(512);
  const format = header.format ?? 'ustar';
  const put = (offset: number, bytes: Uint8Array): void => block.set(bytes, offset);
  put(0, latin1(header.name ?? 'file'));
  put(100, numeric(header.mode ?? 0o644, 8));
  put(108, numeric(header.uid ?? 0, 8));
  put(116, numeric(header.gid ?? 0, 8));
  put(124, numeric(header.size ?? dataLength, 12));
  put(136, numeric(header.mtime ?? 1_700_000_000, 12));
  put(148, latin1('        '));
  put(156, latin1(header.type ?? '0'));
  put(157, latin1(header.linkName ?? ''));
  put(257, latin1(magics[format]));
  if (format !== 'v7') {
    put(329, numeric(header.devMajor ?? 0, 8));
    put(337, numeric(header.devMinor ?? 0, 8));
  }
  if (format === 'star') put(508, latin1('tar\0'));
  if (header.prefix !== undefined) put(345, latin1(header.prefix));
  for (const [offset, bytes] of header.patches ?? []) put(offset, latin1(bytes));
  block.write(
    `${checksum(block, header.checksum ?? 'unsigned')
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
    'latin1',
  );
  return block;
}

/** Data filled up to whole blocks. */
export function padded(data: Uint8Array): Uint8Array {
  const block = Buffer.alloc(Math.ceil(data.length / 512) * 512);
  block.set(data);
  return block;
}

/** Header and data of one entry. */
export function rawEntry(header: RawHeader, data: string | Uint8Array = ''): Uint8Array {
  const bytes = latin1(data);
  return Buffer.concat([rawHeader(header, bytes.length), padded(bytes)]);
}

/** One PAX record with its length in front. */
export function paxRecord(key: string, value: string | Uint8Array): Uint8Array {
  const body = Buffer.concat([latin1(` ${key}=`), latin1(value), latin1('\n')]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([latin1(String(length)), body]);
}

/** An extended header (`x`) or a global one (`g`) with these records. */
export function paxEntry(
  records: readonly (readonly [key: string, value: string | Uint8Array])[],
  type: 'x' | 'g' = 'x',
): Uint8Array {
  return rawEntry(
    { name: 'PaxHeaders/x', type },
    Buffer.concat(records.map(([key, value]) => paxRecord(key, value))),
  );
}

/** GNU's long name (`L`) or long link (`K`). */
export function gnuLong(type: 'L' | 'K', name: string | Uint8Array): Uint8Array {
  return rawEntry(
    { name: '././@LongLink', type, format: 'gnu' },
    Buffer.concat([latin1(name), Uint8Array.of(0)]),
  );
}

/** The end-of-archive mark. */
export const tarEnd: Uint8Array = Buffer.alloc(1024);

/** Put the parts together and end the archive. */
export function rawTar(...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([...parts, tarEnd]);
}
