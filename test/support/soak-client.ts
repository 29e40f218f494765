/**
 * Program: does everything that a reader and a writer of the sample tree can do, over and over, in an order that its
 * seed decides, until its stdin ends. Prints the number of rounds when it is done.
 *
 *   node soak-client.js <mount point> <seed>
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { createPrng } from './prng.js';
import { bigBytes, pattern, sparseBytes } from './sample-tree.js';

const [path = '', seed = '1'] = process.argv.slice(2);
const random = createPrng(Number(seed));
const at = (...names: string[]): string => join(path, ...names);
const buffer = Buffer.alloc(4096);

function check(name: string, sizeBytes: number, base = 0): void {
  const fd = fs.openSync(at(name), 'r');
  try {
    const position = random.integer(sizeBytes - buffer.length);
    fs.readSync(fd, buffer, 0, buffer.length, position);
    if (!buffer.equals(pattern(base + position, base + position + buffer.length)))
      throw new Error(`${name} at ${position}: other bytes`);
  } finally {
    fs.closeSync(fd);
  }
}

function absent(folder: string): void {
  const name = `no-${seed}-${random.integer(2 ** 31)}`;
  if (fs.existsSync(at(folder, name))) throw new Error(`${name} exists`);
}

function comeAndGo(): void {
  const file = at('work', `f-${seed}`);
  fs.writeFileSync(file, buffer.subarray(0, 100));
  fs.renameSync(file, `${file}-moved`);
  fs.unlinkSync(`${file}-moved`);
  fs.mkdirSync(at('work', `d-${seed}`));
  fs.symlinkSync('target', at('work', `d-${seed}`, 'link'));
  fs.unlinkSync(at('work', `d-${seed}`, 'link'));
  fs.rmdirSync(at('work', `d-${seed}`));
}

function fails(name: string): void {
  try {
    fs.readFileSync(at(name));
  } catch {
    return;
  }
  throw new Error(`${name} was read`);
}

/** What to do, and how often of 100: mostly what C++ answers, since that is most of ten million requests. */
const deeds: readonly (readonly [number, () => void])[] = [
  [34, () => check('big', bigBytes)],
  [20, () => check('part', 100_000, 4096)],
  [10, () => check('sparse', sparseBytes)],
  [10, () => absent('fixed')],
  [5, () => absent('')],
  [5, () => void fs.readdirSync(at('fixed'))],
  [3, () => void fs.readFileSync(at('hello'))],
  [3, () => void fs.readFileSync(at('made'))],
  [3, () => void fs.statfsSync(path)],
  [2, () => void fs.readlinkSync(at('link'))],
  [2, () => fails('broken')],
  [1, () => fails('throws/denied')],
  [2, comeAndGo],
];
const choices = deeds.flatMap(([weight, deed]) => Array.from({ length: weight }, () => deed));

let rounds = 0;
let stopped = false;
process.stdin.on('end', () => {
  stopped = true;
});
process.stdin.resume();

function slice(): void {
  if (stopped) {
    console.log(rounds);
    return;
  }
  for (let i = 0; i < 200; i += 1) random.pick(choices)();
  rounds += 200;
  setImmediate(slice);
}
slice();
