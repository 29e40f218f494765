/** Pushing: `cp` through a mount and `imgfs cp` against `skopeo copy` of the same bytes, and blobs mounted by `cp`. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mustRun } from '../support/child.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { imgfsIn, imgfsMain, type ImgfsCommand } from '../support/imgfs-command.js';
import { writePatternedImage } from '../support/patterned-image.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { cpuSeconds, measured, peakMebibytes, type Cost } from './measured-command.js';
import { median, spread, timed, type Measurement, type Section } from './section.js';

const mebibyte = 2 ** 20;
const totalBytes = Number(process.env['IMGFS_BENCH_PUSH_MIB'] ?? 384) * mebibyte;
const layerCount = Number(process.env['IMGFS_BENCH_PUSH_LAYERS'] ?? 1);
const rounds = Number(process.env['IMGFS_BENCH_ROUNDS'] ?? 3);

interface Ground {
  readonly directory: string;
  readonly mountPoint: string;
  readonly imgfs: ImgfsCommand;
  readonly docker: DockerRegistry;
  readonly env: Readonly<Record<string, string>>;
}

async function must(imgfs: ImgfsCommand, words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await imgfs(words);
  if (code !== 0) throw new Error(`imgfs ${words.join(' ')}: ${stderr}`);
  return stdout;
}

/** Asked of the mount itself: this machine may have others. */
const daemonOf = async (mountPoint: string): Promise<number> =>
  Number(/"pid":\s*(\d+)/.exec(await readFile(join(mountPoint, '.imgfs', 'status.json'), 'utf8'))?.[1] ?? 0);

type Way = (ground: Ground, repository: string) => Promise<Cost>;

const skopeo: Way = ({ directory, docker }, repository) =>
  measured([
    'skopeo', 'copy', '--quiet', '--dest-tls-verify=false',
    `oci:${join(directory, 'layout')}:v1`, `docker://${docker.host}/${repository}:v1`,
  ]); // prettier-ignore

const imgfsCp: Way = ({ directory, docker, env }, repository) =>
  measured(
    [
      process.execPath,
      imgfsMain,
      'cp',
      `oci:${join(directory, 'layout')}:v1`,
      `docker://${docker.host}/${repository}:v1`,
    ],
    env,
  );

/** The cost of the daemon is what `cp` costs: `cp` itself does nothing but read and write. */
const byMount: Way = async ({ directory, mountPoint, docker }, repository) => {
  const parent = join(mountPoint, docker.host, repository);
  const pid = await daemonOf(mountPoint);
  const before = await cpuSeconds(pid);
  const cost = await measured([
    'bash', '-ec', 'mkdir "$1"; cp -r "$2" "$1/v1"', '-', parent, join(directory, 'image'),
  ]); // prettier-ignore
  const cpu = cost.cpuSeconds + (await cpuSeconds(pid)) - before;
  return { seconds: cost.seconds, cpuSeconds: cpu, peakMebibytes: await peakMebibytes(pid) };
};

/** Where everything is already: the daemon would answer from what it knows, so the tag is another one. */
const byMountAgain: Way = async ({ directory, mountPoint, docker }, repository) => {
  const parent = join(mountPoint, docker.host, repository);
  const pid = await daemonOf(mountPoint);
  const before = await cpuSeconds(pid);
  const cost = await measured(['cp', '-r', join(directory, 'image'), join(parent, `v${Date.now()}`)]);
  const cpu = cost.cpuSeconds + (await cpuSeconds(pid)) - before;
  return { seconds: cost.seconds, cpuSeconds: cpu, peakMebibytes: await peakMebibytes(pid) };
};

function costOf(costs: readonly Cost[]): string {
  const cpu = median(costs.map((cost) => cost.cpuSeconds)).toFixed(1);
  const peak = Math.max(...costs.map((cost) => cost.peakMebibytes)).toFixed(0);
  return `${spread(costs.map((cost) => cost.seconds))}, ${cpu} s cpu, ${peak} MiB`;
}

function* compared(
  what: string,
  costs: readonly Cost[],
  peer: readonly Cost[],
  most: number,
): Iterable<Measurement> {
  // Pairs of one round stand beside each other in time.
  const ratios = costs.map(({ seconds }, round) => seconds / (peer[round]?.seconds ?? Number.NaN));
  const peak = Math.max(...costs.map((cost) => cost.peakMebibytes));
  yield { what: `${what}, s`, measured: costOf(costs), figure: '' };
  yield {
    what: '… against skopeo copy',
    measured: spread(ratios),
    figure: `<= ${most}`,
    reached: median(ratios) <= most,
  };
  yield { what: '… memory at most, MiB', measured: peak.toFixed(0), figure: '< 120', reached: peak < 120 };
}

async function* pushing(ground: Ground): AsyncIterable<Measurement> {
  const { docker, imgfs, mountPoint } = ground;
  await must(imgfs, ['mount', mountPoint, '--allow-overwrite']);
  const fresh: Record<'skopeo' | 'cp' | 'mount', Cost[]> = { skopeo: [], cp: [], mount: [] };
  const again: Record<'skopeo' | 'cp' | 'mount', Cost[]> = { skopeo: [], cp: [], mount: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, first, second] of [
      ['skopeo', skopeo, skopeo],
      ['cp', imgfsCp, imgfsCp],
      ['mount', byMount, byMountAgain],
    ] as const) {
      const repository = `${name}${round}`;
      fresh[name].push(await first(ground, repository));
      again[name].push(await second(ground, repository));
      // The same bytes three times, and room for them once: the tests' disk is small.
      await rm(join(docker.directory, 'store'), { recursive: true, force: true });
    }
  }
  yield {
    what: `skopeo copy of ${totalBytes / mebibyte} MiB in ${layerCount}, s`,
    measured: costOf(fresh.skopeo),
    figure: '',
  };
  yield* compared('imgfs cp', fresh.cp, fresh.skopeo, 1);
  yield* compared('cp -r through the mount', fresh.mount, fresh.skopeo, 1.1);
  yield { what: 'skopeo copy, already there, s', measured: costOf(again.skopeo), figure: '' };
  yield { what: 'imgfs cp, already there, s', measured: costOf(again.cp), figure: '' };
  yield { what: 'cp -r through the mount, already there, s', measured: costOf(again.mount), figure: '' };
}

/** A blob of 1 GiB taken over by another repository. */
async function* mounting({ docker, imgfs, mountPoint, directory }: Ground): AsyncIterable<Measurement> {
  const app = join(mountPoint, docker.host);
  await mustRun('truncate', ['-s', '1G', join(directory, 'huge')]);
  await mustRun(
    'bash',
    ['-ec', 'mkdir "$1/from"; cp "$2" "$1/from/@uploads/huge"', '-', app, join(directory, 'huge')],
    {
      timeoutMs: 120_000,
    },
  );
  const digest = (
    await mustRun('getfattr', [
      '--absolute-names',
      '--only-values',
      '-n',
      'user.oci.digest',
      join(app, 'from/@uploads/huge'),
    ])
  ).stdout;
  const source = join(app, 'from', '@blobs', 'sha256', digest.slice(7));
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await mustRun('mkdir', [join(app, `to${round}`)]);
    times.push(await timed(() => mustRun('cp', [source, join(app, `to${round}`, '@uploads', 'huge')])));
  }
  const moved = docker
    .log()
    .split('\n')
    .filter((line) => /to\d+\/blobs\/uploads/.test(line) && /PATCH|PUT/.test(line));
  yield {
    what: 'cp of 1 GiB between repositories, ms',
    measured: spread(times, 0),
    figure: '< 200',
    reached: median(times) < 200,
  };
  yield {
    what: '… requests that carry bytes',
    measured: String(moved.length),
    figure: '0',
    reached: moved.length === 0,
  };
  await must(imgfs, ['umount', mountPoint]);
}

async function* run(): AsyncIterable<Measurement> {
  const directory = await makeTempDir('bench-push');
  const mountPoint = join(directory, 'mnt');
  await mkdir(mountPoint);
  const imgfs = imgfsIn(directory);
  const docker = await startDockerRegistry();
  try {
    await writePatternedImage(directory, layerCount, Math.floor(totalBytes / layerCount));
    const ground = { directory, mountPoint, imgfs, docker, env: { HOME: join(directory, 'home') } };
    yield* pushing(ground);
    yield* mounting(ground);
  } finally {
    await imgfs(['umount', '--force', mountPoint]);
    await docker.close();
    await removeTempDir(directory);
  }
}

export const push: Section = { title: 'Pushing, against skopeo copy', run };
