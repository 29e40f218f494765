/** Looking at images through a mount: requests, bytes, time against curl, memory. */
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run as runCommand } from '../support/child.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { drain } from '../support/drain.js';
import { startFaultRegistry, testCertificates } from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { startShapingProxy } from '../support/shaping-proxy.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { pushLargeImage } from './large-image.js';
import { manyBlobs } from './many-blobs.js';
import { median, spread, timed, type Measurement, type Section } from './section.js';

const rounds = 5;
const mebibyte = 2 ** 20;
const largeBytes = 1024 * mebibyte;

interface Ground {
  readonly directory: string;
  readonly mountPoint: string;
  readonly imgfs: ImgfsCommand;
}

async function* withGround(work: (ground: Ground) => AsyncIterable<Measurement>): AsyncIterable<Measurement> {
  const directory = await makeTempDir('bench');
  const mountPoint = join(directory, 'mnt');
  await mkdir(mountPoint);
  const imgfs = imgfsIn(directory);
  try {
    yield* work({ directory, mountPoint, imgfs });
  } finally {
    await imgfs(['umount', '--force', mountPoint]);
    await removeTempDir(directory);
  }
}

async function must(imgfs: ImgfsCommand, words: readonly string[]): Promise<void> {
  const { code, stderr } = await imgfs(words);
  if (code !== 0) throw new Error(`imgfs ${words.join(' ')}: ${stderr}`);
}

async function* starting({ mountPoint, imgfs }: Ground): AsyncIterable<Measurement> {
  const version: number[] = [];
  const bare: number[] = [];
  const ready: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    bare.push(await timed(() => runCommand(process.execPath, ['-e', '0'])));
    version.push(await timed(() => imgfs(['--version'])));
    // Nothing listens there: a mount must not care.
    ready.push(await timed(() => must(imgfs, ['mount', mountPoint])));
    await must(imgfs, ['umount', mountPoint]);
  }
  yield { what: 'node -e 0, ms', measured: spread(bare, 0), figure: '' };
  yield {
    what: 'imgfs --version, ms',
    measured: spread(version, 0),
    figure: '< 150',
    reached: median(version) < 150,
  };
  yield {
    what: 'imgfs mount ready, no registry, ms',
    measured: spread(ready, 0),
    figure: '< 1000',
    reached: median(ready) < 1000,
  };
}

async function* requests({ mountPoint, imgfs }: Ground): AsyncIterable<Measurement> {
  const registry = await startFaultRegistry();
  try {
    registry.addImage('group/app', await sampleImage(), 'v1');
    await must(imgfs, ['mount', mountPoint]);
    const app = join(mountPoint, registry.host, 'group', 'app', 'v1');
    // The way to the repository is walked before: what is counted is the tag.
    await runCommand('ls', ['-d', join(app, '..')]);
    const walked = registry.requests.length;
    await runCommand('ls', [app]);
    const listing = registry.requests.slice(walked).filter(({ path }) => !path.endsWith('/v2/'));
    const shown = listing
      .map(({ method, path }) => `${method} ${path.replace(/sha256:\w+/, '…')}`)
      .join(', ');
    yield {
      what: 'ls tag/ cold, requests',
      measured: `${listing.length}: ${shown}`,
      figure: '<= 2 round trips',
    };
    const before = registry.requests.length;
    await runCommand('ls', ['-l', join(app, 'layers')]);
    const blobs = registry.requests
      .slice(before)
      .filter(({ method, path }) => method === 'GET' && path.includes('/blobs/'));
    yield {
      what: 'ls -l layers/, blob requests',
      measured: String(blobs.length),
      figure: '0',
      reached: blobs.length === 0,
    };
  } finally {
    await imgfs(['umount', mountPoint]);
    await registry.close();
  }
}

async function residentMebibytes(mountPoint: string): Promise<number> {
  const { pid } = JSON.parse(await readFile(join(mountPoint, '.imgfs', 'status.json'), 'utf8')) as {
    pid: number;
  };
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
}

/** Certificate files for docker-registry, and the CA where imgfs looks for it. */
async function withCertificates(directory: string): Promise<{ certificatePath: string; keyPath: string }> {
  const { good } = await testCertificates();
  const paths = { certificatePath: join(directory, 'server.crt'), keyPath: join(directory, 'server.key') };
  await writeFile(paths.certificatePath, good.cert);
  await writeFile(paths.keyPath, good.key);
  return paths;
}

async function trustCa(home: string, host: string): Promise<void> {
  const folder = join(home, '.config', 'containers', 'certs.d', host);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'ca.crt'), (await testCertificates()).ca);
}

/** One 1 GiB blob; curl and we read it in turn, each time uncached. `bytesPerSecond` shapes the line for both. */
function sequential(label: string, bytesPerSecond: number | undefined, times: number, withTls = false) {
  return async function* ({ directory, mountPoint, imgfs }: Ground): AsyncIterable<Measurement> {
    const tls = withTls ? { tls: await withCertificates(directory) } : {};
    const registry = await startDockerRegistry(tls);
    if (withTls) await trustCa(imgfs.home, registry.host);
    const proxy = await startShapingProxy({
      port: Number(registry.host.split(':')[1]),
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond, roundTripMs: 20 }),
    });
    const direct = bytesPerSecond === undefined;
    const host = direct ? registry.host : proxy.host;
    try {
      const size = direct ? largeBytes : largeBytes / 8;
      const ca = withTls ? (await testCertificates()).ca : undefined;
      const layer = await pushLargeImage(registry.url, 'large', size, ca);
      const url = `${withTls ? 'https' : 'http'}://${host}/v2/large/blobs/${layer.digest}`;
      const ours: number[] = [];
      const curl: number[] = [];
      const curlHashed: number[] = [];
      let resident = 0;
      for (let round = 0; round < times; round += 1) {
        const cache = ['--cache-dir', join(directory, `cache-${round}`)];
        await must(imgfs, ['mount', mountPoint, ...cache]);
        const path = join(mountPoint, host, 'large', 'v1', 'layers', '0.tar');
        await runCommand('ls', ['-l', path]);
        ours.push(await timed(() => drain(path)));
        resident = Math.max(resident, await residentMebibytes(mountPoint));
        await must(imgfs, ['umount', mountPoint]);
        curl.push(await timed(() => runCommand('sh', ['-c', `curl -sk "${url}" | cat >/dev/null`])));
        curlHashed.push(await timed(() => runCommand('sh', ['-c', `curl -sk "${url}" | sha256sum`])));
      }
      const ratios = ours.map((time, index) => (curl[index] ?? Number.NaN) / time);
      const hashed = ours.map((time, index) => (curlHashed[index] ?? Number.NaN) / time);
      const rate = median(ours.map((time) => size / mebibyte / (time / 1000)));
      yield {
        what: `uncached sequential read, ${label}: rate`,
        measured: `${rate.toFixed(0)} MiB/s`,
        figure: '',
      };
      yield {
        what: `  against curl | cat`,
        measured: spread(ratios),
        figure: '>= 0.8',
        reached: median(ratios) >= 0.8,
      };
      yield { what: `  against curl | sha256sum`, measured: spread(hashed), figure: '' };
      yield {
        what: `  resident memory at most, MiB`,
        measured: resident.toFixed(0),
        figure: '< 150',
        reached: resident < 150,
      };
    } finally {
      await imgfs(['umount', '--force', mountPoint]);
      await proxy.close();
      await registry.close();
    }
  };
}

async function* middle({ mountPoint, imgfs }: Ground): AsyncIterable<Measurement> {
  const registry = await startDockerRegistry();
  const proxy = await startShapingProxy({ port: Number(registry.host.split(':')[1]) });
  try {
    await pushLargeImage(registry.url, 'large', largeBytes);
    await must(imgfs, ['mount', mountPoint]);
    const path = join(mountPoint, proxy.host, 'large', 'v1', 'layers', '0.tar');
    await runCommand('ls', ['-l', path]);
    proxy.resetCounters();
    const file = await open(path, 'r');
    await file.read(Buffer.alloc(4096), 0, 4096, largeBytes / 2);
    await file.close();
    const kibibytes = proxy.bytesDown() / 1024;
    yield {
      what: '4 KiB from the middle of 1 GiB, KiB transferred',
      measured: kibibytes.toFixed(0),
      figure: '<= 1024',
      reached: kibibytes <= 1024,
    };
  } finally {
    await imgfs(['umount', '--force', mountPoint]);
    await proxy.close();
    await registry.close();
  }
}

export const browse: Section = {
  title: 'Browsing a registry through a mount',
  async *run() {
    yield* withGround(starting);
    yield* withGround(manyBlobs);
    yield* withGround(requests);
    yield* withGround(middle);
    yield* withGround(sequential('1 Gbit/s, 20 ms', 125_000_000, 3));
    yield* withGround(sequential('loopback', undefined, 3));
    yield* withGround(sequential('loopback with TLS', undefined, 3, true));
  },
};
