/** Small members of an archive, parsed once: some of them before it is known that they are members. */
import { parseHeaderBlock } from '../tar/header-block.js';
import { safeCount } from '../tar/number-field.js';
import { readMember, type ScannedArchive } from './archive-contents.js';
import type { TarMember } from './scan-tar.js';
import { blockBytes } from './tar-header.js';
import type { ArchiveBytes } from './walk-headers.js';

export class ParsedMembers<Value> {
  private readonly parse: (bytes: Buffer, where: string) => Value;
  private readonly maxBytes: number;
  private readonly known = new Map<number, { readonly size: number; readonly value: Value }>();

  /** `parse` gets a copy, and what to call it in messages. */
  constructor(parse: (bytes: Buffer, where: string) => Value, maxBytes: number) {
    this.parse = parse;
    this.maxBytes = maxBytes;
  }

  /** The value of what may turn out to be a member; undefined, and nothing remembered, for what cannot be parsed. */
  foresee({ offset, bytes }: ArchiveBytes): Value | undefined {
    if (bytes.length > this.maxBytes) return undefined;
    try {
      const value = this.parse(Buffer.from(bytes), 'the end of an archive');
      this.known.set(offset, { size: bytes.length, value });
      return value;
    } catch {
      // If it is a member, it is parsed again, and then this is an error.
      return undefined;
    }
  }

  /** @throws ImgfsError `too-large`, `stale`, and what the parser throws. */
  async of(archive: ScannedArchive, member: TarMember): Promise<Value> {
    const known = this.known.get(member.offset);
    if (known?.size === member.size) return known.value;
    const where = `${archive.file.path}: ${member.name.slice(0, 300)}`;
    return this.parse(await readMember(archive, member, this.maxBytes), where);
  }
}

/**
 * What looks like members at the end of an archive, by name. Layers that are not compressed have headers inside: what is
 * found is a guess, and is one by its offset only when the scan has come there.
 */
export function membersAtEnd({ offset, bytes }: ArchiveBytes): ReadonlyMap<string, ArchiveBytes> {
  const found = new Map<string, ArchiveBytes>();
  const first = Math.ceil(offset / blockBytes) * blockBytes - offset;
  for (let at = first; at + blockBytes <= bytes.length; at += blockBytes) {
    if (bytes[at + magicAt] !== 0x75 || bytes[at + magicAt + 1] !== 0x73) continue;
    const header = parseHeaderBlock(bytes.subarray(at, at + blockBytes));
    const size = typeof header === 'string' ? undefined : safeCount(header.size);
    const start = at + blockBytes;
    if (typeof header === 'string' || size === undefined || start + size > bytes.length) continue;
    const content = { offset: offset + start, bytes: bytes.subarray(start, start + size) };
    found.set(header.path.replace(/^\.\//, ''), content);
  }
  return found;
}

/** `ustar` begins there, in every format since 1988. */
const magicAt = 257;
