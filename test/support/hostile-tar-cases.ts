/** Archives that try to escape, to hide, to shadow or to exhaust; each says what must come of it. */
import {
  base256,
  gnuLong,
  paxEntry,
  paxRecord,
  rawEntry,
  rawHeader,
  rawTar,
  tarEnd,
  type RawHeader,
} from './raw-tar.js';

export interface HostileCase {
  readonly name: string;
  readonly archive: Uint8Array;
  /** Paths inside the root, in order, of the entries that are shown; undefined: the archive is refused. */
  readonly paths: readonly string[] | undefined;
  /** Entries that are left out or mended, with a note. */
  readonly problems: number;
}

type Bytes = string | Uint8Array;

const cases: HostileCase[] = [];

function add(name: string, archive: Uint8Array, paths: readonly string[] | undefined, problems = 0): void {
  cases.push({ name, archive, paths, problems });
}

/** The ways to give an entry its name. */
const placements: Readonly<Record<string, (name: string, header?: RawHeader) => Uint8Array | undefined>> = {
  'in the header': (name, header) => (name.length > 100 ? undefined : rawEntry({ ...header, name }, 'data')),
  'with a prefix': (name, header) => {
    const slash = name.indexOf('/', 1);
    if (slash < 1 || name.length > 100) return undefined;
    return rawEntry({ ...header, prefix: name.slice(0, slash), name: name.slice(slash + 1) }, 'data');
  },
  'in PAX': (name, header) =>
    Buffer.concat([paxEntry([['path', name]]), rawEntry({ ...header, name: 'short' }, 'data')]),
  'as long name': (name, header) =>
    Buffer.concat([gnuLong('L', name), rawEntry({ ...header, name: 'short' }, 'data')]),
};

const long = (length: number): string =>
  Array.from({ length: Math.ceil(length / 100) }, () => 'p'.repeat(99))
    .join('/')
    .slice(0, length);

/** Names, and where their file ends up; undefined: nowhere, with a note. */
const names: readonly (readonly [label: string, name: string, path: string | undefined, problems: number])[] =
  [
    ['an absolute name', '/etc/passwd', 'etc/passwd', 0],
    ['doubled slashes', '///etc//passwd', 'etc/passwd', 0],
    ['dots', './a/./b', 'a/b', 0],
    ['a name that climbs', '../../etc/passwd', 'etc/passwd', 1],
    ['a name that climbs from within', 'a/../../../b', 'b', 1],
    ['a name that climbs at its end', 'a/b/..', 'a', 1],
    ['a name that climbs behind a slash', '/../x', 'x', 1],
    ['a name of dots that is none', '.../..a', '.../..a', 0],
    ['the root by ..', '..', undefined, 2],
    ['the root by .', '.', undefined, 1],
    ['the root by a slash', '/', undefined, 1],
    ['a newline', 'a\nb', 'a\nb', 0],
    ['a terminal sequence', 'a\x1b[31mb', 'a\x1b[31mb', 0],
    ['bytes that are no UTF-8', 'a\xff\xfe', 'a\xff\xfe', 0],
    ['a cut UTF-8 sequence', 'a\xe2\x82', 'a\xe2\x82', 0],
    ['an overlong UTF-8 slash', 'a\xc0\xafb', 'a\xc0\xafb', 0],
    ['backslashes', '..\\..\\x', '..\\..\\x', 0],
    ['a colon', 'c:/x', 'c:/x', 0],
    ['a leading dash', '-rf', '-rf', 0],
    ['a blank', ' ', ' ', 0],
    ['the longest part', `d/${'n'.repeat(255)}`, `d/${'n'.repeat(255)}`, 0],
    ['a part that is too long', `d/${'n'.repeat(256)}`, undefined, 1],
    ['the longest path', long(4095), long(4095), 0],
    ['a path that is too long', long(4096), undefined, 1],
    ['a very deep path', 'a/'.repeat(2000) + 'b', 'a/'.repeat(2000) + 'b', 0],
  ];

for (const [label, name, path, problems] of names) {
  for (const [placement, make] of Object.entries(placements)) {
    const entry = make(name);
    if (entry === undefined) continue;
    const shown = path === undefined ? [] : [path];
    add(`${label}, ${placement}`, rawTar(entry, rawEntry({ name: 'next' })), [...shown, 'next'], problems);
  }
}

add('a NUL in a name of PAX', rawTar(paxEntry([['path', 'a\0b']]), rawEntry({})), undefined);
add('a NUL in a link of PAX', rawTar(paxEntry([['linkpath', 'a\0b']]), rawEntry({ type: '2' })), undefined);
add('a NUL in a key of PAX', rawTar(paxEntry([['SCHILY.xattr.user.a\0b', 'v']]), rawEntry({})), undefined);
add('a NUL in an owner of PAX', rawTar(paxEntry([['uname', 'a\0b']]), rawEntry({})), undefined);
add('a NUL in a long name', rawTar(gnuLong('L', 'a\0b'), rawEntry({})), ['a']);
add('an empty long name', rawTar(gnuLong('L', ''), rawEntry({ name: 'own' })), ['own']);
add('an empty name of PAX', rawTar(paxEntry([['path', '']]), rawEntry({ name: 'own' })), ['own']);
add('an empty name of a file', rawTar(rawEntry({ name: '' })), [], 1);
add('an empty name of a directory', rawTar(rawEntry({ name: '', type: '5' })), ['']);
add(
  'two names that differ in a byte that is no UTF-8',
  rawTar(rawEntry({ name: 'a\xff' }), rawEntry({ name: 'a\xfe' })),
  ['a\xff', 'a\xfe'],
);
add('a name twice', rawTar(rawEntry({ name: 'a' }, '1'), rawEntry({ name: 'a' }, '2')), ['a', 'a']);
add('a name twice in two spellings', rawTar(rawEntry({ name: 'a' }), rawEntry({ name: './/a' })), ['a', 'a']);
add('a file with a slash behind its name', rawTar(rawEntry({ name: 'a/' }, 'data')), ['a']);
add('a directory without a slash', rawTar(rawEntry({ name: 'a', type: '5' })), ['a']);
add('an old directory', rawTar(rawEntry({ name: 'a/', type: '\0' })), ['a']);

const targets: readonly (readonly [label: string, target: string])[] = [
  ['absolute', '/etc/passwd'],
  ['climbing', '../../../../etc/passwd'],
  ['to itself', 'l'],
  ['to the root', '/'],
  ['that is no UTF-8', '\xff\xfe'],
  ['with a newline', 'a\nb'],
  ['that is long', 'x/'.repeat(2500)],
  ['that is empty', ''],
];
const linkPlacements: Readonly<Record<string, (target: string, type: '1' | '2') => Uint8Array | undefined>> =
  {
    'in the header': (linkName, type) =>
      linkName.length > 100 ? undefined : rawEntry({ name: 'l', type, linkName }),
    'in PAX': (target, type) =>
      Buffer.concat([paxEntry([['linkpath', target]]), rawEntry({ name: 'l', type })]),
    'as long link': (target, type) => Buffer.concat([gnuLong('K', target), rawEntry({ name: 'l', type })]),
  };
for (const [label, target] of targets) {
  for (const [placement, make] of Object.entries(linkPlacements)) {
    for (const type of ['1', '2'] as const) {
      const entry = make(target, type);
      const kind = type === '1' ? 'a hard link' : 'a symbolic link';
      const isGone = type === '2' && target.length > 4095;
      if (entry === undefined) continue;
      const archive = rawTar(entry, rawEntry({ name: 'next' }));
      add(`${kind} ${label}, ${placement}`, archive, isGone ? ['next'] : ['l', 'next'], isGone ? 1 : 0);
    }
  }
}

const fields: readonly (readonly [name: string, offset: number, width: number])[] = [
  ['mode', 100, 8],
  ['uid', 108, 8],
  ['gid', 116, 8],
  ['size', 124, 12],
  ['mtime', 136, 12],
  ['major', 329, 8],
  ['minor', 337, 8],
];
const numbers: readonly (readonly [
  label: string,
  bytes: (width: number) => Bytes,
  ok: (field: string) => boolean,
])[] = [
  ['letters', (width) => 'x'.repeat(width), () => false],
  ['a digit above 7', (width) => '8'.padStart(width - 1, '0'), () => false],
  ['a minus sign', (width) => '-1'.padEnd(width, '\0'), () => false],
  ['a hexadecimal number', (width) => '0x1f'.padEnd(width, '\0'), () => false],
  ['blanks', (width) => ' '.repeat(width), () => true],
  ['NULs', (width) => '\0'.repeat(width), () => true],
  ['a NUL and then letters', (width) => '0\0'.padEnd(width, 'x'), () => true],
  ['a blank inside', (width) => '0 0'.padEnd(width, '\0'), () => false],
  ['a negative number in base 256', (width) => base256(-1n, width), (field) => field !== 'size'],
  [
    'a number of 64 bits',
    (width) => base256(1n << 63n, Math.max(width, 9)).slice(-width),
    (field) => !['size', 'mtime'].includes(field),
  ],
  ['all bits set', (width) => new Uint8Array(width).fill(0xff), (field) => field !== 'size'],
];
for (const [field, offset, width] of fields) {
  for (const [label, bytes, ok] of numbers) {
    const archive = rawTar(
      rawHeader({ name: 'f', patches: [[offset, bytes(width)]] }),
      rawEntry({ name: 'next' }),
    );
    add(`${field} made of ${label}`, archive, ok(field) ? ['f', 'next'] : undefined);
  }
}

const paxNumbers: readonly (readonly [label: string, text: string, ok: readonly string[]])[] = [
  ['letters', 'abc', []],
  ['an exponent', '1e3', []],
  ['hexadecimal', '0x10', []],
  ['a leading blank', ' 5', []],
  ['a comma', '1,5', []],
  ['below zero', '-1', ['uid', 'gid', 'mtime']],
  ['2 to the 63', '9223372036854775808', []],
  ['100 digits', '9'.repeat(100), []],
  ['nothing', '', ['size', 'uid', 'gid', 'mtime']],
];
for (const key of ['size', 'uid', 'gid', 'mtime']) {
  for (const [label, text, ok] of paxNumbers) {
    const archive = rawTar(paxEntry([[key, text]]), rawEntry({ name: 'f' }), rawEntry({ name: 'next' }));
    add(`PAX ${key}: ${label}`, archive, ok.includes(key) ? ['f', 'next'] : undefined);
  }
}
add(
  'PAX size above 2 to the 53',
  rawTar(paxEntry([['size', '9007199254740993']]), rawEntry({ name: 'f' })),
  undefined,
);
add('PAX size beyond the archive', rawTar(paxEntry([['size', '99999']]), rawEntry({ name: 'f' })), undefined);

const paxPayloads: readonly (readonly [label: string, payload: string, ok: boolean])[] = [
  ['a record without a length', 'path=x\n', false],
  ['a record whose length is too short', '5 path=x\n', false],
  ['a record whose length is too long', '99 path=x\n', false],
  ['a record of length 0', '0 path=x\n', false],
  ['a record of negative length', '-9 path=x\n', false],
  ['a record without =', '9 pathxx\n', false],
  ['a record without a key', '5 =x\n\n', false],
  ['a record without a newline', '9 path=xx', false],
  ['a length of many digits', `${'0'.repeat(30)}9 path=x\n`, false],
  ['bytes behind the last record', `${Buffer.from(paxRecord('comment', 'x')).toString('latin1')}zz`, false],
  ['nothing at all', '', true],
  ['an = in the value', Buffer.from(paxRecord('comment', 'a=b=c')).toString('latin1'), true],
  ['a newline in the value', Buffer.from(paxRecord('comment', 'a\nb')).toString('latin1'), true],
];
for (const [label, payload, ok] of paxPayloads) {
  add(
    `PAX with ${label}`,
    rawTar(rawEntry({ type: 'x' }, payload), rawEntry({ name: 'f' })),
    ok ? ['f'] : undefined,
  );
}

/** What a fake header inside data would smuggle in. */
const inner = rawEntry({ name: 'smuggled' }, 'evil');
add('a header inside the data of a file', rawTar(rawEntry({ name: 'f' }, inner)), ['f']);
add('a header inside an unknown entry', rawTar(rawEntry({ name: 'v', type: 'V' }, inner)), [], 1);
add('a header inside a global header', rawTar(rawEntry({ name: 'g', type: 'g' }, inner)), []);
add('a size on a directory', rawTar(rawHeader({ name: 'd/', type: '5', size: 1024 }), inner), [
  'd',
  'smuggled',
]);
add('a size on a hard link', rawTar(rawHeader({ name: 'l', type: '1', linkName: 'x', size: 1024 }), inner), [
  'l',
  'smuggled',
]);
add(
  'a size on a symbolic link',
  rawTar(rawHeader({ name: 'l', type: '2', linkName: 'x', size: 1024 }), inner),
  ['l', 'smuggled'],
);
add('a size on a device', rawTar(rawHeader({ name: 'c', type: '3', size: 1024 }), inner), ['c', 'smuggled']);
add('a size on a fifo', rawTar(rawHeader({ name: 'p', type: '6', size: 1024 }), inner), ['p', 'smuggled']);
add(
  'PAX makes a file longer',
  rawTar(paxEntry([['size', '1024']]), rawHeader({ name: 'f', size: 0 }), inner),
  ['f'],
);
add(
  'PAX makes a file shorter',
  rawTar(paxEntry([['size', '0']]), rawHeader({ name: 'f', size: 1024 }), inner),
  ['f', 'smuggled'],
);
add(
  'a global header with a size',
  rawTar(paxEntry([['size', '1024']], 'g'), rawHeader({ name: 'f', size: 0 }), inner),
  ['f', 'smuggled'],
);
add('a global header with a path', rawTar(paxEntry([['path', 'evil']], 'g'), rawEntry({ name: 'f' })), ['f']);

for (const type of ['8', '9', 'A', 'D', 'I', 'M', 'N', 'X', 'Z', '\x01', '\xff']) {
  const archive = rawTar(rawEntry({ name: 'odd', type }, 'data'), rawEntry({ name: 'next' }));
  add(`type ${JSON.stringify(type)}`, archive, ['next'], 1);
}

const whole = Buffer.concat([rawEntry({ name: 'f' }, 'x'.repeat(700)), tarEnd]);
for (const [length, paths] of [
  [0, []],
  [1, undefined],
  [511, undefined],
  [512, undefined],
  [1211, undefined],
  [1212, ['f']],
  [1300, ['f']],
  [1536, ['f']],
  [1537, undefined],
  [2048, ['f']],
  [2049, undefined],
  [2560, ['f']],
] as const) {
  add(`an archive cut at byte ${length}`, whole.subarray(0, length), paths);
}
add('an archive cut inside an extended header', paxEntry([['path', 'x']]).subarray(0, 600), undefined);
add('an extended header and then the end', rawTar(paxEntry([['path', 'x']])), []);
add('an extended header and then nothing', paxEntry([['path', 'x']]), []);
add(
  'one zero block and then a file',
  Buffer.concat([rawEntry({ name: 'f' }), Buffer.alloc(512), rawEntry({ name: 'hidden' }), tarEnd]),
  undefined,
);
add(
  'two zero blocks and then a file',
  Buffer.concat([rawTar(rawEntry({ name: 'f' })), rawEntry({ name: 'hidden' })]),
  ['f'],
);
add('a wrong checksum', rawTar(rawHeader({ checksum: 'wrong' })), undefined);
add(
  'a wrong checksum behind a file',
  rawTar(rawEntry({ name: 'f' }), rawHeader({ checksum: 'wrong' })),
  undefined,
);
add('a checksum of signed bytes', rawTar(rawHeader({ name: '\xff\xfe', checksum: 'signed' })), ['\xff\xfe']);
add('a block of garbage', rawTar(Buffer.alloc(512, 0xaa)), undefined);
add(
  'an extended header of more than 1 MiB',
  rawTar(rawHeader({ type: 'x', size: (1 << 20) + 1 })),
  undefined,
);
add(
  'a long name of more than 1 MiB',
  rawTar(rawHeader({ type: 'L', size: 2 ** 30, format: 'gnu' })),
  undefined,
);
add('a file longer than the archive', rawTar(rawHeader({ name: 'f', size: 2 ** 30 })), undefined);

const paxSparse = (records: Readonly<Record<string, string>>, data = 'd'.repeat(512)): Uint8Array =>
  rawTar(
    paxEntry(Object.entries(records).map(([key, value]) => [`GNU.sparse.${key}`, value])),
    rawEntry({ name: 'f' }, data),
  );
const sparse01 = (map: string, blocks: string, size: string): Uint8Array =>
  paxSparse({ major: '0', minor: '1', map, numblocks: blocks, size });
add('a sparse map in order', sparse01('0,256,1024,256', '2', '4096'), ['f']);
add('a sparse map out of order', sparse01('1024,256,0,256', '2', '4096'), undefined);
add('a sparse map that overlaps', sparse01('0,256,100,256', '2', '4096'), undefined);
add('a sparse map beyond the file', sparse01('0,256,4000,256', '2', '4096'), undefined);
add('a sparse map with too little data', sparse01('0,256', '1', '4096'), undefined);
add('a sparse map with too much data', sparse01('0,1024', '1', '4096'), undefined);
add('a sparse map of odd length', sparse01('0,256,1024', '2', '4096'), undefined);
add('a sparse map with another count', sparse01('0,512', '7', '4096'), undefined);
add('a sparse map with negative numbers', sparse01('-5,512', '1', '4096'), undefined);
add('a sparse map of letters', sparse01('a,b', '1', '4096'), undefined);
add('a sparse file of negative size', sparse01('0,512', '1', '-4096'), undefined);
add('a sparse file of 8 EiB', sparse01('0,512', '1', '9223372036854775807'), undefined);
add('a sparse file of 4 PiB', sparse01('0,512', '1', '4503599627370496'), ['f']);
add('a sparse file of an unknown version', paxSparse({ major: '9', minor: '9', name: 'x' }), ['f']);
add(
  'a sparse name that climbs',
  paxSparse({ major: '0', minor: '1', map: '0,512', numblocks: '1', size: '512', name: '../../x' }),
  ['x'],
  1,
);
const sparse10 = (map: string): Uint8Array =>
  paxSparse({ major: '1', minor: '0', realsize: '4096' }, map.padEnd(512, '\0') + 'd'.repeat(512));
add('a 1.0 map', sparse10('1\n0\n512\n'), ['f']);
add('a 1.0 map without an end', sparse10('9'.repeat(512)), undefined);
add('a 1.0 map of letters', sparse10('x\n'), undefined);
add('a 1.0 map with an absurd count', sparse10('99999999\n0\n512\n'), undefined);
add(
  'a 1.0 map that is all there is',
  paxSparse({ major: '1', minor: '0', realsize: '0' }, '0\n'.padEnd(512, '\0')),
  ['f'],
);
add(
  'a 1.0 map longer than its file',
  paxSparse({ major: '1', minor: '0', realsize: '4096' }, '2\n0\n'),
  undefined,
);
const oldSparse = (patches: RawHeader['patches'], size = 512): Uint8Array =>
  rawTar(
    rawHeader({ name: 'f', type: 'S', format: 'gnu', size, patches: patches ?? [] }),
    Buffer.alloc(512, 'd'),
  );
const piece = (offset: number, length: number): string =>
  `${offset.toString(8).padStart(11, '0')}\0${length.toString(8).padStart(11, '0')}\0`;
const realSize = (size: number): readonly [number, string] => [
  483,
  `${size.toString(8).padStart(11, '0')}\0`,
];
add('an old sparse map', oldSparse([[386, piece(0, 512)], realSize(4096)]), ['f']);
add('an old sparse map beyond the file', oldSparse([[386, piece(4000, 512)], realSize(4096)]), undefined);
add('an old sparse map of garbage', oldSparse([[386, 'garbage!'], realSize(4096)]), undefined);
add('an old sparse map that goes on for ever', rawTar(rawHeader({ name: 'f', type: 'S', format: 'gnu', patches: [[386, piece(0, 0)], [482, '\x01'], realSize(0)] }), Buffer.alloc(512 * 50, 1)), undefined); // prettier-ignore
add('an old sparse entry in a ustar archive', rawTar(rawHeader({ name: 'f', type: 'S' })), undefined);

/** Several entries that only together do harm: each is a name, what it is, and where it leads. */
const combined: readonly (readonly [
  label: string,
  ...entries: readonly (readonly [string, string?, string?])[],
])[] = [
  ['through an absolute link', ['l', '2', '/etc'], ['l/passwd']],
  ['through a climbing link', ['l', '2', '../../..'], ['l/x']],
  ['through a link in a folder', ['d/', '5'], ['d/l', '2', '../e'], ['e/', '5'], ['d/l/x']],
  ['through links in a row', ['a', '2', 'b'], ['b', '2', 'c'], ['c', '2', '/d'], ['a/x']],
  ['through a link to itself', ['l', '2', 'l'], ['l/x']],
  ['through two links that lead to each other', ['a', '2', 'b'], ['b', '2', 'a'], ['a/x']],
  ['a link in place of a folder that has files', ['d/', '5'], ['d/x'], ['d', '2', '/etc'], ['d/y']],
  ['a folder in place of a link', ['d', '2', 'e'], ['e/', '5'], ['d/', '5'], ['d/x']],
  ['a file in place of a folder', ['d/', '5'], ['d/x'], ['d']],
  ['a folder in place of a file', ['d'], ['d/', '5'], ['d/x']],
  ['a fifo in place of a folder', ['d/', '5'], ['d/x'], ['d', '6']],
  ['a file below a file', ['f'], ['f/x']],
  ['a hard link to a link that leads out', ['l', '2', '/etc/passwd'], ['h', '1', 'l']],
  ['a hard link through a link that leads out', ['l', '2', '/etc'], ['h', '1', 'l/passwd']],
  ['a hard link to a folder', ['d/', '5'], ['h', '1', 'd']],
  ['a hard link in place of its target', ['f'], ['f', '1', 'f']],
  ['a hard link, and then another file', ['f'], ['h', '1', 'f'], ['f'], ['g', '1', 'f']],
  ['a hard link before its target', ['h', '1', 'f'], ['f']],
  ['a hard link of a hard link', ['f'], ['g', '1', 'f'], ['h', '1', 'g']],
  ['a hard link to a fifo', ['p', '6'], ['h', '1', 'p']],
  ['a whiteout of nothing', ['.wh.nothing']],
  ['a whiteout behind its file', ['d/', '5'], ['d/x'], ['d/.wh.x']],
  ['a whiteout before its file', ['d/', '5'], ['d/.wh.x'], ['d/x']],
  ['a whiteout of a folder with files', ['d/', '5'], ['d/x'], ['.wh.d']],
  ['an opaque folder behind its files', ['d/', '5'], ['d/x'], ['d/.wh..wh..opq']],
  ['a whiteout through a link', ['l', '2', '/'], ['d/', '5'], ['d/x'], ['l/d/.wh.x']],
];
for (const [label, ...entries] of combined) {
  const parts = entries.map(([name, type, linkName]) =>
    type === undefined
      ? rawEntry({ name }, 'data')
      : rawEntry({ name, type, ...(linkName === undefined ? {} : { linkName }) }),
  );
  add(
    `together: ${label}`,
    rawTar(...parts),
    entries.map(([name]) => name.replace(/\/$/, '')),
  );
}

export const hostileCases: readonly HostileCase[] = cases;
