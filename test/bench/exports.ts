/** Archives made while they are read, against `cat` of the blobs in them, all of it cached, through one mount. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { mustRun } from '../support/child.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { pushLargeImage } from './large-image.js';
import { median, spread, timed, type Measurement, type Section } from './section.js';

const rounds = 7;
const layerBytes = 256 * 2 ** 20;

/** What is done with the bytes. `cat` into nothing is what no consumer does; the digest is the least of a real one. */
const consumers = {
  'to /dev/null': 'cat "$1" > /dev/null',
  'to sha256sum': 'cat "$1" | sha256sum',
} as const;

async function* run(): AsyncGenerator<Measurement> {
  const directory = await makeTempDir('bench-exports');
  const registry = await startDockerRegistry();
  const imgfs = imgfsIn(directory);
  const mountPoint = join(directory, 'mnt');
  await mkdir(mountPoint);
  const must = async (...words: string[]): Promise<void> => {
    const { code, stderr } = await imgfs(words);
    if (code !== 0) throw new Error(`imgfs ${words.join(' ')}: ${stderr}`);
  };
  const image = join(mountPoint, registry.host, 'bench/app/v1');
  const files = { blob: join(image, 'layers/0.tar'), archive: join(image, 'export/oci.tar') };
  const read = (script: string, path: string): Promise<number> =>
    timed(() => mustRun('bash', ['-o', 'pipefail', '-c', script, '-', path], { timeoutMs: 120_000 }));
  try {
    await pushLargeImage(registry.url, 'bench/app', layerBytes);
    await must('mount', mountPoint);
    await read(consumers['to /dev/null'], files.blob);
    await must('umount', mountPoint);
    for (const [consumer, script] of Object.entries(consumers)) {
      const first: Record<keyof typeof files, number[]> = { blob: [], archive: [] };
      const again: Record<keyof typeof files, number[]> = { blob: [], archive: [] };
      for (let round = 0; round < rounds; round += 1) {
        // A new mount each time: nothing is in the kernel's pages of it.
        await must('mount', mountPoint);
        for (const name of ['blob', 'archive'] as const) {
          first[name].push(await read(script, files[name]));
          again[name].push(await read(script, files[name]));
        }
        await must('umount', mountPoint);
      }
      for (const [when, times] of Object.entries({ 'first read': first, 'read again': again })) {
        const ratios = times.blob.map((ms, round) => ms / (times.archive[round] ?? Number.NaN));
        yield { what: `cat of a blob ${consumer}, ${when}, ms`, measured: spread(times.blob, 0), figure: '' };
        yield {
          what: '… export/oci.tar against it',
          measured: spread(ratios),
          figure: '>= 0.9',
          reached: median(ratios) >= 0.9,
        };
      }
    }
  } finally {
    await imgfs(['umount', '--force', mountPoint]);
    await registry.stop();
    await removeTempDir(directory);
  }
}

/** The section. */
export const exportsSection: Section = { title: 'Archives of images', run };
