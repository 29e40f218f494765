// Builds and runs the addon's own tests (native/test), which need no Node: under the sanitizers, and the fuzzer.
//
//   node scripts/test-native.mjs                      plain, then AddressSanitizer with UBSan, then ThreadSanitizer
//   node scripts/test-native.mjs plain|address|thread one of them
//   node scripts/test-native.mjs mounted              the mounted suite with the whole addon under AddressSanitizer
//   node scripts/test-native.mjs fuzz [seconds] [fuse|layer|inflate]   libFuzzer on requests of the kernel and
//                                                     the server, on archives, passes and spans, and on deflate
//                                                     streams beside zlib (needs clang)
//
// Without a compiler it says so and ends well, unless --required is given.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeFuseSeeds, writeInflateSeeds, writeLayerSeeds } from './native-seeds.mjs';

const native = fileURLToPath(new URL('../native', import.meta.url));
const sources = join(native, 'src');
const tests = join(native, 'test');

/** Parts that need no Node: the driver but for mounting, and everything about layers. */
const needsNode =
  /^(addon|(receive\/)?\w+-module|layer-\w+-calls|fuse\/(binding.*|napi-values|watchdog|mount))\.cc$/;
const partSources = readdirSync(sources, { recursive: true }).filter(
  (name) => name.endsWith('.cc') && !needsNode.test(name),
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

/**
 * In the addon zlib and OpenSSL are those that node exports; here the system's, whose headers need not be installed.
 * libzstd is loaded at run time, as always.
 */
function libraries() {
  return ['-l:libz.so.1', '-l:libcrypto.so.3', '-ldl', '-lpthread'];
}

function build(flavour, main) {
  const folder = join(native, `build-test/${flavour}`);
  mkdirSync(folder, { recursive: true });
  const compiler = flavour === 'fuzz' ? 'clang++' : (process.env.CXX ?? 'c++');
  const include = join(dirname(realpathSync(process.execPath)), '../include/node');
  const flags = [
    '-std=c++17',
    '-g',
    '-O1',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-isystem',
    include,
    ...flavours[flavour],
  ];
  const inputs = [
    ...partSources.map((name) => join(sources, name)),
    ...main.map((name) => join(tests, name)),
  ];
  const headers = [sources, tests].flatMap((f) =>
    readdirSync(f, { recursive: true })
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
  const program = join(folder, main.length === 1 ? basename(main[0], '.cc') : 'test');
  run(compiler, [...flags, ...objects, '-o', program, ...libraries()]);
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
  run('c++', ['-std=c++17', '-O1', join(sources, 'fuse/watchdog.cc'), '-o', join(folder, 'imgfs-watchdog')]);
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

/** True when clang++ is here and brings libFuzzer, which Debian packs apart. */
function canFuzz() {
  const program = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }';
  const words = ['-fsanitize=fuzzer,address', '-x', 'c++', '-', '-o', '/dev/null'];
  return spawnSync('clang++', words, { input: program, stdio: ['pipe', 'ignore', 'ignore'] }).status === 0;
}

const fuzzers = {
  fuse: { main: 'fuse-fuzz.cc', writeSeeds: writeFuseSeeds, maxBytes: 8192 },
  layer: { main: 'layer-fuzz.cc', writeSeeds: writeLayerSeeds, maxBytes: 65_536 },
  inflate: { main: 'inflate-fuzz.cc', writeSeeds: writeInflateSeeds, maxBytes: 8192 },
};

async function fuzz(target, seconds) {
  const { main, writeSeeds, maxBytes } = fuzzers[target];
  const folder = join(native, 'build-test/fuzz', target);
  const [seeds, corpus] = [join(folder, 'seeds'), join(folder, 'corpus')];
  mkdirSync(corpus, { recursive: true });
  await writeSeeds(seeds);
  console.error(`test-native: fuzzing ${target} for ${seconds} s`);
  const limits = [
    `-max_total_time=${seconds}`,
    `-max_len=${maxBytes}`,
    '-timeout=10',
    '-print_final_stats=1',
  ];
  run(build('fuzz', [main]), [corpus, seeds, ...limits], { cwd: folder });
}

/** What the words ask for, or what is wrong with them: a mistyped one would test nothing, or everything. */
function mistake(words) {
  const [first, ...rest] = words;
  const one = (word, known) =>
    known.includes(word) ? undefined : `no such word: ${word}; ${known.join(', ')}`;
  if (first === 'mounted') return rest.length === 0 ? undefined : `mounted takes no words: ${rest.join(' ')}`;
  if (first !== 'fuzz') {
    const known = ['plain', 'address', 'thread'];
    return words
      .map((word) => one(word, words.length > 1 ? known : [...known, 'mounted', 'fuzz']))
      .find(Boolean);
  }
  const [seconds = '60', ...targets] = rest;
  if (!(Number(seconds) > 0)) return `fuzz takes seconds first: ${seconds}`;
  return targets.map((target) => one(target, Object.keys(fuzzers))).find(Boolean);
}

const words = process.argv.slice(2).filter((word) => word !== '--required');
const wrong = mistake(words);
if (wrong !== undefined) {
  console.error(`test-native: ${wrong}`);
  process.exit(2);
}
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
  const [, seconds = '60', ...targets] = words;
  for (const target of targets.length > 0 ? targets : Object.keys(fuzzers)) await fuzz(target, seconds);
} else {
  for (const flavour of words.length > 0 ? words : ['plain', 'address', 'thread']) {
    console.error(`test-native: ${flavour}`);
    run(build(flavour, testSources), [], {
      env: { ...process.env, TSAN_OPTIONS: 'halt_on_error=1 second_deadlock_stack=1' },
    });
  }
}
