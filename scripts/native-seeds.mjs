// What the fuzzers of the addon start from: inputs that get far.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { constants, deflateRawSync, gzipSync } from 'node:zlib';

/** Seeds: one well-formed request of each opcode, and a walk through a directory and a file. */
export function writeFuseSeeds(folder) {
  mkdirSync(folder, { recursive: true });
  const record = (kind, bytes) => {
    const head = Buffer.from([kind, bytes.length & 255, bytes.length >> 8]);
    return Buffer.concat([head, bytes]);
  };
  const request = (opcode, node, rest) => {
    const header = Buffer.alloc(40);
    header.writeUInt32LE(40 + rest.length, 0);
    header.writeUInt32LE(opcode, 4);
    header.writeBigUInt64LE(BigInt(opcode + 1000), 8);
    header.writeBigUInt64LE(BigInt(node), 16);
    return record(0, Buffer.concat([header, rest]));
  };
  const entry = (ino, mode, name) => {
    const bytes = Buffer.alloc(104 + ((name.length + 7) & ~7));
    bytes.writeDoubleLE(ino, 0);
    bytes.writeDoubleLE(3600000, 8);
    bytes.writeDoubleLE(3600000, 16);
    bytes.writeDoubleLE(4096, 24);
    bytes.writeUInt32LE(mode, 64);
    bytes.writeUInt32LE(1, 84);
    bytes.writeBigUInt64LE(1n, 88);
    bytes.writeUInt32LE(name.length, 96);
    bytes.write(name, 104);
    return bytes;
  };
  for (let opcode = 1; opcode < 54; opcode += 1) {
    const seed = [request(opcode, 1, Buffer.from('name\0other\0'.padEnd(96, '\0')))];
    writeFileSync(join(folder, `opcode-${opcode}`), Buffer.concat([...seed, record(31, Buffer.alloc(8))]));
  }
  const number = (...values) => {
    const bytes = Buffer.alloc(40);
    values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt(value), index * 8));
    return bytes;
  };
  const walk = [
    request(1, 1, Buffer.from('dir\0')),
    record(1, entry(2, 0o040755, '')),
    request(27, 2, Buffer.alloc(8)),
    record(11, Buffer.alloc(0)),
    request(44, 2, number(1, 0, 4096)),
    record(3, entry(3, 0o100644, 'file')),
    request(1, 2, Buffer.from('file\0')),
    request(14, 3, Buffer.alloc(8)),
    record(19, Buffer.from([0, 100])),
    request(15, 3, number(2, 0, 4096)),
    record(1, Buffer.alloc(0)),
    request(18, 3, number(2)),
    request(29, 2, number(1)),
    request(2, 3, number(2)),
  ];
  writeFileSync(join(folder, 'walk'), Buffer.concat(walk));
}

/** Archives by GNU tar, in each of its formats, with a sparse file, links, long names and an attribute. */
function tarArchives() {
  const folder = mkdtempSync(join(tmpdir(), 'imgfs-seeds-'));
  const run = (script) => spawnSync('sh', ['-c', script], { cwd: folder, maxBuffer: 1 << 24 }).stdout;
  try {
    run(`mkdir -p d/$(printf 'n%.0s' $(seq 120)) && echo a >d/a && ln d/a d/b && ln -s a d/c && mkfifo d/p
      printf x >d/sparse && truncate -s 64K d/sparse && printf x >>d/sparse; echo u >d/u
      setfattr -n user.note -v hi d/u; touch -d @1500000000.5 d/a; touch d/$(printf 'm%.0s' $(seq 200))`);
    const ways = ['-H v7', '-H ustar', '-H gnu', '-H gnu -S', '-H posix --xattrs'].concat(
      ['0.0', '0.1', '1.0'].map((version) => `-H posix -S --sparse-version=${version}`),
    );
    return ways.map((way) => run(`tar c ${way} d 2>/dev/null`)).filter((bytes) => bytes.length > 0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Archives that the tests have against us, where they are compiled. */
async function hostileArchives() {
  const path = fileURLToPath(new URL('../dist/test/support/hostile-tar-cases.js', import.meta.url));
  if (!existsSync(path)) return [];
  const { hostileCases } = await import(pathToFileURL(path).href);
  return hostileCases.map(({ archive }) => archive).filter(({ length }) => length <= 32_768);
}

/** For the layer fuzzer: the kind, how input is cut, then archives and compressed forms of them. */
export async function writeLayerSeeds(folder) {
  mkdirSync(folder, { recursive: true });
  const kinds = {
    archive: 0,
    gzip: 1,
    zstd: 2,
    deflated: 3 + 8 * 6,
    members: 4 + 8,
    span: 5,
    state: 6,
    plain: 7,
  };
  const put = (kind, name, bytes) =>
    writeFileSync(join(folder, `${kind}-${name}`), Buffer.concat([Buffer.of(kinds[kind], 20), bytes]));
  const archives = tarArchives();
  for (const [index, archive] of archives.entries()) {
    put('archive', index, archive);
    put('plain', index, archive);
    put('gzip', index, gzipSync(archive));
    put(
      'gzip',
      `${index}-members`,
      Buffer.concat([gzipSync(archive.subarray(0, 1000)), gzipSync(archive.subarray(1000))]),
    );
    put('deflated', index, archive);
    put('members', index, archive);
    put('state', index, gzipSync(archive));
    put('span', index, Buffer.concat([Buffer.of(1, 0, 0, 0, 0, 0, 0, 40), gzipSync(archive)]));
    const zstd = spawnSync('zstd', ['-q', '-c'], { input: archive, maxBuffer: 1 << 24 });
    if (zstd.status === 0) put('zstd', index, zstd.stdout);
  }
  for (const [index, archive] of (await hostileArchives()).entries())
    put('archive', `hostile-${index}`, archive);
}

/** For the fuzzer of the inflater: start, window and pieces, then streams with every kind of block. */
export function writeInflateSeeds(folder) {
  mkdirSync(folder, { recursive: true });
  const { Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE, Z_DEFAULT_STRATEGY } = constants;
  const text = Array.from({ length: 600 }, (_, index) => `${(index * 7919) % 1000} word `).join('');
  const ways = [
    { level: 0 },
    { level: 1 },
    ...[Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE, Z_DEFAULT_STRATEGY].map((strategy) => ({ level: 9, strategy })),
  ];
  for (const [index, way] of ways.entries()) {
    for (const bytes of [Buffer.from(text), Buffer.alloc(3000, 'ab'), Buffer.alloc(0)]) {
      const deflated = deflateRawSync(bytes, way);
      writeFileSync(
        join(folder, `${index}-${bytes.length}`),
        Buffer.concat([Buffer.of(0, 0, 40, 9), deflated]),
      );
    }
  }
}
