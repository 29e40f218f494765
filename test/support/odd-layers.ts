/** Two layers with everything odd that real images have. */
import { gnuLong, paxEntry, rawEntry, type RawHeader } from './raw-tar.js';

const dir = (name: string, header: RawHeader = {}): Uint8Array =>
  rawEntry({ mode: 0o755, ...header, name, type: '5' });
const file = (name: string, content: string, header: RawHeader = {}): Uint8Array =>
  rawEntry({ ...header, name }, content);
const link = (name: string, linkName: string): Uint8Array => rawEntry({ name, type: '2', linkName });
const hard = (name: string, linkName: string): Uint8Array => rawEntry({ name, type: '1', linkName });

/** Everything odd that umoci unpacks: the entries of two layers. */
export const oddLayers: readonly (readonly Uint8Array[])[] = [
  [
    dir('./', { mtime: 5 }),
    dir('usr/', { mode: 0o1777, uid: 7, gid: 8, mtime: 100 }),
    dir('usr/lib/'),
    link('lib', 'usr/lib'),
    link('absolute', '/usr/lib'),
    file('usr/lib/a', 'a'.repeat(1000), { mode: 0o4755, uid: 1000, gid: 100, mtime: 1234 }),
    file('gone', 'x'),
    dir('opaque/'),
    file('opaque/below', 'x'),
    dir('opaque/deep/'),
    file('opaque/deep/f', 'x'),
    file('linked', 'shared'),
    hard('usr/other', 'linked'),
    dir('was-dir/'),
    file('was-dir/f', 'x'),
    file('was-file', 'x'),
    file('na\xff\xfeme', 'bytes'),
    rawEntry({ name: 'fifo', type: '6', mode: 0o600 }),
    rawEntry({ name: 'null', type: '3', mode: 0o666, devMajor: 1, devMinor: 3 }),
    rawEntry({ name: 'disk', type: '4', mode: 0o660, devMajor: 8, devMinor: 17 }),
    paxEntry([
      ['mtime', '1500000000.123456789'],
      ['SCHILY.xattr.user.note', 'hello'],
      ['SCHILY.xattr.security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex')],
    ]),
    file('capable', 'x', { mode: 0o755 }),
    gnuLong('L', `${'long/'.repeat(30)}name`),
    file('short', 'long name'),
    paxEntry([
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 'sparse'],
      ['GNU.sparse.realsize', '100000'],
    ]),
    file('GNUSparseFile.0/sparse', '2\n4096\n512\n99488\n512\n'.padEnd(512, '\0') + 's'.repeat(1024)),
  ],
  [
    file('lib/through-link', 'x'),
    file('absolute/too', 'x'),
    file('.wh.gone', ''),
    file('opaque/new', 'x'),
    file('opaque/.wh..wh..opq', ''),
    file('.wh.linked', ''),
    file('was-dir', 'now a file'),
    dir('was-file/', { mode: 0o700 }),
    file('was-file/f', 'x'),
    hard('late-link', 'usr/other'),
    file('twice', 'first'),
    file('twice', 'second'),
    file('usr/.wh.twice', ''),
  ],
];
