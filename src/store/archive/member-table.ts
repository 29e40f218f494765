/** Members of an archive by name, with links followed inside the archive. */
import { posix } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { TarMember } from './scan-tar.js';

/** Docker writes a link for a layer that is there twice, GNU tar may add a hard link to that. */
const maxLinks = 3;

export class MemberTable {
  private readonly path: string;
  private readonly members = new Map<string, TarMember | TarMember[]>();
  private doubled = false;

  /** `path` is the archive's, for messages. */
  constructor(path: string, members: readonly TarMember[] = []) {
    this.path = path;
    for (const member of members) this.add(member);
  }

  /** A member behind all that are there. */
  add(member: TarMember): void {
    const known = this.members.get(member.name);
    if (known === undefined) {
      this.members.set(member.name, member);
      return;
    }
    this.doubled = true;
    if (Array.isArray(known)) known.push(member);
    else this.members.set(member.name, [known, member]);
  }

  /** True when some name is there more than once: what was found before the second came may be refused now. */
  get hasDoubles(): boolean {
    return this.doubled;
  }

  names(): Iterable<string> {
    return this.members.keys();
  }

  /**
   * The regular file of that name.
   * @throws ImgfsError `invalid-content` when it is there twice with different contents as far as sizes tell, is no
   *   file, or a link that leads nowhere or out of the archive.
   */
  find(name: string): TarMember | undefined {
    // Names of members are normal.
    let wanted = this.members.has(name) ? name : posix.normalize(name);
    for (let links = 0; links <= maxLinks; links += 1) {
      const member = this.one(wanted);
      if (member === undefined) {
        if (links === 0) return undefined;
        this.refuse(name, `a link to ${JSON.stringify(wanted)}, which is not in the archive`);
      }
      if (member.type === 'file') return member;
      if (member.type === 'other') this.refuse(name, 'not a file');
      // The name of a hard link counts from the root of the archive, that of a symbolic link from its directory.
      const base = member.type === 'link' ? '.' : posix.dirname(wanted);
      wanted = posix.normalize(posix.join(base, member.linkname));
    }
    return this.refuse(name, 'too many links');
  }

  /** As {@link find}, for what must be there. */
  mustFind(name: string): TarMember {
    return this.find(name) ?? this.refuse(name, 'missing');
  }

  /** One reader takes the first of two members, another the last: only blobs, whose digest decides, may be doubled. */
  private one(name: string): TarMember | undefined {
    const known = this.members.get(name);
    if (!Array.isArray(known)) return known;
    const [first, ...others] = known;
    if (first === undefined) return undefined;
    const isBlob = /^blobs\/[a-z0-9]+\/[0-9a-f]+$/.test(name);
    const same = others.every(({ type, size }) => type === 'file' && size === first.size);
    return isBlob && same && first.type === 'file' ? first : this.refuse(name, 'there more than once');
  }

  private refuse(name: string, why: string): never {
    throw new ImgfsError(
      'invalid-content',
      `read ${this.path}: member ${JSON.stringify(name.slice(0, 300))}: ${why}`,
      {
        path: this.path,
        hint: 'the archive is incomplete or was put together wrongly: save the image again',
      },
    );
  }
}
