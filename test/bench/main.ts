/**
 * `npm run bench [section…]`: figures as ratios, measured interleaved in one run. Never part of the tests: on a
 * shared machine a time is only worth something beside another time.
 */
import { cpus, release, totalmem } from 'node:os';
import type { Section } from './section.js';

/** Each section is loaded only when it runs. */
const sections: Readonly<Record<string, () => Promise<Section>>> = {
  browse: async () => (await import('./browse.js')).browse,
  fuse: async () => (await import('./fuse.js')).fuse,
  push: async () => (await import('./push.js')).push,
  inside: async () => (await import('./inside.js')).inside,
  stores: async () => (await import('./stores.js')).stores,
  exports: async () => (await import('./exports.js')).exportsSection,
};

function showRow(what: string, measured: string, figure: string, reached: string): void {
  console.log(`${what.padEnd(52)} ${measured.padEnd(34)} ${figure.padEnd(22)} ${reached}`);
}

async function run(names: readonly string[]): Promise<void> {
  const processor = cpus()[0]?.model ?? 'unknown processor';
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  console.log(
    `Node ${process.version}, ${process.platform} ${release()}, ${cpus().length} × ${processor}, ${memory}`,
  );
  for (const name of names) {
    const load = sections[name];
    if (load === undefined)
      throw new Error(`no section ${name}; there are ${Object.keys(sections).join(', ')}`);
    const section = await load();
    console.log(`\n## ${section.title}\n`);
    showRow('what', 'measured', 'figure', 'reached');
    // Each row as soon as it is known: a section takes minutes.
    for await (const { what, measured, figure, reached } of section.run()) {
      showRow(what, measured, figure, reached === undefined ? '-' : reached ? 'yes' : 'NO');
    }
  }
}

const wanted = process.argv.slice(2);
await run(wanted.length === 0 ? Object.keys(sections) : wanted);
