// Builds and runs the addon's own tests (native/test), which need no Node: under the sanitizers, and the fuzzer.
//
//   node scripts/test-native.mjs                      plain, then AddressSanitizer with UBSan, then ThreadSanitizer
//   node scripts/test-native.mjs plain|address|thread one of them
//   node scripts/test-native.mjs mounted              the mounted suite with the whole addon under AddressSanitizer
//   node scripts/test-native.mjs fuzz [seconds]       libFuzzer on the request parser and the server (needs clang)
//
// Without a compiler it says so and ends well, unless --required is given.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = fileURLToPath(new URL('../native', import.meta.url));
const sources = join(native, 'src/fuse');
const tests = join(native, 'test');

/** Parts that need neither Node nor a device. */
const serverSources = readdirSync(sources).filter(
  (name) => name.endsWith('.cc') && !['binding.cc', 'watchdog.cc', 'mount.cc', 'session.cc'].includes(name),
);
const testSources = readdirSync(tests).filter((name) => name.endsWith('.cc') && !name.endsWith('-fuzz.cc'));

const flavours = {
  plain: [],
  address: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
  thread: ['-fsanitize=thread'],
  fuzz: ['-fsanitize=fuzzer,address,undefined', '-fno-sanitize-recover=all'],
};

function run(command, parameters, options = {}) {
  const result = spawnSync(command, parameters, { stdio: 'inherit', ...options });
  if (result.status !== 0) {
    console.error(`test-native: ${command} ended with ${result.status ?? result.signal}`);
    process.exit(1);
  }
}

function has(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function build(flavour, main) {
  const folder = join(native, `build-test/${flavour}`);
  mkdirSync(folder, { recursive: true });
  const compiler = flavour === 'fuzz' ? 'clang++' : (process.env.CXX ?? 'c++');
  const flags = ['-std=c++17', '-g', '-O1', '-Wall', '-Wextra', '-Werror', ...flavours[flavour]];
  const inputs = [
    ...serverSources.map((name) => join(sources, name)),
    ...main.map((name) => join(tests, name)),
  ];
  const headers = [sources, tests].flatMap((f) =>
    readdirSync(f)
      .filter((n) => n.endsWith('.h'))
      .map((n) => join(f, n)),
  );
  const newestHeader = Math.max(...headers.map((path) => statSync(path).mtimeMs));
  const objects = inputs.map((input) => {
    const object = join(folder, `${input.slice(native.length + 1).replaceAll('/', '-')}.o`);
    const fresh =
      existsSync(object) && statSync(object).mtimeMs > Math.max(newestHeader, statSync(input).mtimeMs);
    if (!fresh) run(compiler, [...flags, '-c', input, '-o', object]);
    return object;
  });
  const program = join(folder, 'test');
  run(compiler, [...flags, ...objects, '-o', program, '-lpthread']);
  return program;
}

/** The whole addon under AddressSanitizer, in a Node that has its runtime preloaded. */
function testMounted() {
  const folder = join(native, 'build-test/mounted');
  mkdirSync(folder, { recursive: true });
  const all = readdirSync(join(native, 'src'), { recursive: true })
    .filter((name) => name.endsWith('.cc') && !name.endsWith('watchdog.cc'))
    .map((name) => join(native, 'src', name));
  const headers = join(dirname(process.execPath), '../include/node');
  const addon = join(folder, 'imgfs.node');
  const flags = [
    '-std=c++17',
    '-g',
    '-O1',
    '-fPIC',
    '-shared',
    '-DNAPI_VERSION=8',
    '-fsanitize=address',
    `-I${headers}`,
  ];
  run('g++', [...flags, ...all, '-o', addon]);
  run('c++', ['-std=c++17', '-O1', join(sources, 'watchdog.cc'), '-o', join(folder, 'imgfs-watchdog')]);
  const runtime = spawnSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout.trim();
  const root = fileURLToPath(new URL('..', import.meta.url));
  run(process.execPath, [join(root, 'scripts/run-tests.mjs'), 'mount/native.test', 'mount/native-threads'], {
    env: {
      ...process.env,
      IMGFS_ADDON: addon,
      LD_PRELOAD: runtime,
      // Node itself leaks on exit; V8 reserves address space that looks like an overflow of the stack.
      ASAN_OPTIONS: 'detect_leaks=0,detect_stack_use_after_return=0',
    },
  });
}

/** Seeds: one well-formed request of each opcode, and a walk through a directory and a file. */
function writeSeeds(folder) {
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

/** True when clang++ is here and brings libFuzzer, which Debian packs apart. */
function canFuzz() {
  const program = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }';
  const words = ['-fsanitize=fuzzer,address', '-x', 'c++', '-', '-o', '/dev/null'];
  return spawnSync('clang++', words, { input: program, stdio: ['pipe', 'ignore', 'ignore'] }).status === 0;
}

const words = process.argv.slice(2).filter((word) => word !== '--required');
if (!has('clang++') && !has(process.env.CXX ?? 'c++')) {
  console.error('test-native: no C++ compiler, so nothing was tested');
  process.exit(process.argv.includes('--required') ? 1 : 0);
}
if (words[0] === 'mounted') {
  testMounted();
} else if (words[0] === 'fuzz') {
  if (!canFuzz()) {
    console.error('test-native: fuzzing needs clang++ with libFuzzer (Debian: clang, libclang-rt-*-dev)');
    process.exit(process.argv.includes('--required') ? 1 : 0);
  }
  const seconds = words[1] ?? '60';
  const seeds = join(native, 'build-test/fuzz/seeds');
  const corpus = join(native, 'build-test/fuzz/corpus');
  mkdirSync(corpus, { recursive: true });
  writeSeeds(seeds);
  const program = build('fuzz', ['fuse-fuzz.cc']);
  run(
    program,
    [corpus, seeds, `-max_total_time=${seconds}`, '-max_len=8192', '-timeout=10', '-print_final_stats=1'],
    {
      cwd: join(native, 'build-test/fuzz'),
    },
  );
} else {
  for (const flavour of words.length > 0 ? words : ['plain', 'address', 'thread']) {
    console.error(`test-native: ${flavour}`);
    run(build(flavour, testSources), [], {
      env: { ...process.env, TSAN_OPTIONS: 'halt_on_error=1 second_deadlock_stack=1' },
    });
  }
}
