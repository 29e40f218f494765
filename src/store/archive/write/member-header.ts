/** Tar headers of members whose sizes are known beforehand, encoded by tar-stream without the content. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pack } from 'tar-stream';
import { ImgfsError } from '../../../errors/imgfs-error.js';

export interface MemberFacts {
  /** A directory's ends with a slash. */
  readonly name: string;
  /** Content in bytes. */
  readonly size: number;
}

/** tar-stream has the header ready in the first turn; this is for the day when it does not. */
const maxTurns = 100;

/**
 * The header of a regular file or a directory, extension records included; a multiple of 512 bytes. Always the same for
 * the same facts: files read-only, owned by root, from 1970, as containers/image writes archives.
 */
export async function memberHeader({ name, size }: MemberFacts): Promise<Buffer> {
  const stream = pack();
  const kind = name.endsWith('/')
    ? ({ type: 'directory', mode: 0o755 } as const)
    : ({ type: 'file', mode: 0o444 } as const);
  try {
    // The entry is never ended: what follows the header is read from where it lies.
    stream.entry({ name, size, ...kind, mtime: new Date(0) }, () => undefined);
    for (let turn = 0; turn < maxTurns; turn += 1) {
      await nextTurn();
      const parts: Uint8Array[] = [];
      for (let part = read(stream); part !== null; part = read(stream)) parts.push(part);
      if (parts.length > 0) return Buffer.concat(parts);
    }
  } finally {
    stream.on('error', () => undefined);
    stream.destroy();
  }
  throw new ImgfsError('internal', `encode the tar header of ${name}: nothing came`);
}

function read(stream: ReturnType<typeof pack>): Uint8Array | null {
  return stream.read() as Uint8Array | null;
}
