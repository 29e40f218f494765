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

/**
 * Root reads a cached blob through the kernel's passthrough, out of the large folios of the file it lies in; an archive that lies
 * in no file is read out of FUSE's own pages, as a user reads both.
 */
const readers: Readonly<Record<string, Record<string, string>>> = {
  'as root': {},
  'as for a user': { IMGFS_FUSE_PLAIN: '1' },
};

async function* run(): AsyncGenerator<Measurement> {
  const directory = await makeTempDir('bench-exports');
  const registry = await startDockerRegistry();
  const imgfs = imgfsIn(directory);
  const mountPoint = join(directory, 'mnt');
  await mkdir(mountPoint);
  const must = async (words: readonly string[], env: Record<string, string> = {}): Promise<void> => {
    const { code, stderr } = await imgfs(words, { env });
    if (code !== 0) throw new Error(`imgfs ${words.join(' ')}: ${stderr}`);
  };
  const image = join(mountPoint, registry.host, 'bench/app/v1');
  const files = { blob: join(image, 'layers/0.tar'), archive: join(image, 'export/oci.tar') };
  const read = (script: string, path: string): Promise<number> =>
    timed(() => mustRun('bash', ['-o', 'pipefail', '-c', script, '-', path], { timeoutMs: 120_000 }));
  try {
    await pushLargeImage(registry.url, 'bench/app', layerBytes);
    await must(['mount', mountPoint]);
    await read(consumers['to /dev/null'], files.blob);
    await must(['umount', mountPoint]);
    for (const [who, env] of Object.entries(readers)) {
      for (const [consumer, script] of Object.entries(consumers)) {
        const first: Record<keyof typeof files, number[]> = { blob: [], archive: [] };
        const again: Record<keyof typeof files, number[]> = { blob: [], archive: [] };
        for (let round = 0; round < rounds; round += 1) {
          // A new mount each time: nothing is in the kernel's pages of it.
          await must(['mount', mountPoint], env);
          for (const name of ['blob', 'archive'] as const) {
            first[name].push(await read(script, files[name]));
            again[name].push(await read(script, files[name]));
          }
          await must(['umount', mountPoint]);
        }
        for (const [when, times] of Object.entries({ 'first read': first, 'read again': again })) {
          const ratios = times.blob.map((ms, round) => ms / (times.archive[round] ?? Number.NaN));
          const what = `cat of a blob ${consumer}, ${who}, ${when}, ms`;
          yield { what, measured: spread(times.blob, 0), figure: '' };
          yield {
            what: '… export/oci.tar against it',
            measured: spread(ratios),
            figure: '>= 0.9',
            reached: median(ratios) >= 0.9,
          };
        }
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
