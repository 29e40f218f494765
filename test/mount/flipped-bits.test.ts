/**
 * The seeded flips of `fault/flipped-bits.test.ts` once more, as programs see them: through a mount whose addon opens the
 * files of layers, reads what is on disk and receives what is not, without JavaScript. Each mount serves an image of every
 * packing and every index; in each image one thing is damaged while nothing is mounted, or its bytes in the registry.
 *
 * 20 flips by default; `IMGFS_FAULTS=1000` by hand (4 minutes), `IMGFS_FAULT_SEED=17` repeats one mount.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, lstat, mkdir, open, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { digestHex } from '../../src/oci/digest.js';
import { manifestKind } from '../../src/oci/media-type.js';
import { damageCache } from '../fault/cache-damage.js';
import { runOptions, runScenarios, type ScenarioResult } from '../fault/fault-run.js';
import { checksOf, filesOf, type TreeReader } from '../fault/flip-checks.js';
import {
  repository,
  shuffled,
  subjectFor,
  subjectNames,
  type FlipSubject,
  type SubjectName,
} from '../fault/flip-subjects.js';
import { run, skipWithout } from '../support/child.js';
import { bytesContent, startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { imageMountProgram, type ImageMountPlan } from '../support/image-mount-child.js';
import { skipWithoutMount } from '../support/mounted.js';
import type { Prng } from '../support/prng.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

/** To its end, as programs read: `readFile` takes a read that broke off for the end of the file. */
async function readToEnd(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const parts: Buffer[] = [];
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(1 << 17));
      if (bytesRead === 0) return Buffer.concat(parts);
      parts.push(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

const reader: TreeReader = {
  read: readToEnd,
  list: (path) => readdir(path),
  stat: async (path) => {
    const { size, mode, mtimeNs } = await lstat(path, { bigint: true });
    return { size: Number(size), mode: Number(mode & 0o7777n), mtimeNs };
  },
};

type State = 'whole' | 'parts';
const states: readonly State[] = ['whole', 'parts'];

interface Look {
  readonly wrong: string[];
  readonly failed: string[];
  succeeded: number;
}

describe(
  'flipped bits through a mount',
  { skip: skipWithoutMount('native') || skipWithout('sha256sum'), timeout: 3_600_000 },
  () => {
    const subjects = new Map<SubjectName, FlipSubject>();
    const prepared = new Map<State, Promise<string>>();
    const counts = new Map<string, number>();
    let registry: FaultRegistry;
    let directory: string;
    let mountPoint: string;

    before(async () => {
      directory = await makeTempDir('mounted-flips');
      mountPoint = join(directory, 'mnt');
      await mkdir(mountPoint);
      registry = await startFaultRegistry();
      for (const name of subjectNames) {
        const subject = await subjectFor(name);
        subjects.set(name, subject);
        registry.addImage(name, subject.image, 'v1');
        // What comes with the image beside it: an index of SOCI.
        const made = registry.content.repositories.get(name);
        for (const [digest, { bytes, descriptor }] of subject.store().repository(repository).blobs) {
          if (manifestKind(descriptor.mediaType) === undefined) {
            registry.content.blobs.set(digest, bytesContent(bytes));
            made?.blobs.add(digest);
          } else made?.manifests.set(digest, { bytes, mediaType: descriptor.mediaType });
        }
      }
    });

    after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await registry.close();
      await removeTempDir(directory);
    });

    const placeOf = (name: string): string => join(mountPoint, registry.host, name, 'v1');

    /** Mount over this cache, and unmount. */
    const mounted = async (cache: string, work: () => Promise<void>): Promise<void> => {
      const { host, url } = registry;
      const plan: ImageMountPlan = { mountPoint, cache, host, url, foreignFromBytes: 100_000 };
      const child = spawn(process.execPath, [imageMountProgram, JSON.stringify(plan)], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const exited = new Promise<number | null>((resolve) => void child.once('exit', resolve));
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      try {
        assert.equal((await lines.next()).value, 'ready');
        await work();
        child.stdin.end();
        const numbers = JSON.parse(String((await lines.next()).value)) as Record<string, number>;
        for (const [name, number] of Object.entries(numbers))
          counts.set(name, (counts.get(name) ?? 0) + number);
        assert.equal(await Promise.race([exited, sleep(20_000, 'hangs', { ref: false })]), 0);
      } finally {
        if (child.exitCode === null) child.kill('SIGKILL');
        await exited;
        if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      }
    };

    const lookByCalls = async (result: Look, seed: number): Promise<void> => {
      const checks = [...subjects].flatMap(([name, subject]) =>
        checksOf(subject, placeOf(name)).map(([what, isRight]) => [`${name}/${what}`, isRight] as const),
      );
      for (const [what, isRight] of shuffled(checks, seed)) {
        try {
          if (await isRight(reader)) result.succeeded += 1;
          else result.wrong.push(what);
        } catch (error) {
          const { code = String(error) } = error as NodeJS.ErrnoException;
          // A file that cannot be read is an error; one that is not there would be a lie.
          if (/^E(IO|TIMEDOUT|AGAIN|STALE)$/.test(code)) result.failed.push(`${what}: ${code}`);
          else result.wrong.push(`${what}: ${code}`);
        }
      }
    };

    /** As a program reads, which does nothing else. */
    const lookByProgram = async (result: Look, seed: number): Promise<void> => {
      const wanted = new Map(
        [...subjects].flatMap(([name, subject]) =>
          filesOf(subject).map(
            ([path, bytes]) =>
              [join(placeOf(name), path), createHash('sha256').update(bytes).digest('hex')] as const,
          ),
        ),
      );
      const { stdout } = await run('sha256sum', shuffled([...wanted.keys()], seed));
      const told = new Map(stdout.split('\n').map((line) => [line.slice(66), line.slice(0, 64)]));
      for (const [path, digest] of wanted) {
        if (told.get(path) === digest) result.succeeded += 1;
        else if (told.has(path)) result.wrong.push(`sha256sum ${path}`);
        else result.failed.push(`sha256sum ${path}`);
      }
    };

    const look = async (cache: string, seed: number): Promise<Look> => {
      const result: Look = { wrong: [], failed: [], succeeded: 0 };
      const ways = [lookByCalls, lookByProgram];
      await mounted(cache, async () => {
        for (const way of seed % 2 === 0 ? ways : ways.toReversed()) await way(result, seed);
      });
      return result;
    };

    const prepare = async (state: State): Promise<string> => {
      const cache = join(directory, `pristine-${state}`);
      const all = await look(cache, 1);
      assert.deepEqual([all.wrong, all.failed], [[], []]);
      if (state === 'whole') return cache;
      for (const folder of ['blobs', 'partial', 'decoded'])
        await rm(join(cache, folder), { recursive: true });
      await mounted(cache, async () => {
        for (const [name, { files }] of subjects)
          for (const { path } of shuffled(files, 2).slice(0, 4))
            await readFile(join(placeOf(name), 'rootfs', path));
      });
      return cache;
    };

    const pristine = (state: State): Promise<string> => {
      const known = prepared.get(state) ?? prepare(state);
      prepared.set(state, known);
      return known;
    };

    /** A bit of a blob or manifest of this image is wrong in the registry. Returns what puts it right. */
    const damageRegistry = (name: SubjectName, subject: FlipSubject, prng: Prng): (() => void) => {
      // All images share the layer of the whiteout: without it hardly anything could be read.
      const shared = subject.image.layers[1]?.descriptor.digest;
      const all = [...subject.store().repository(repository).blobs.values()];
      const { descriptor, bytes } = prng.pick(all.filter((blob) => blob.descriptor.digest !== shared));
      const { digest, mediaType } = descriptor;
      const bad = Uint8Array.from(bytes);
      const at = prng.integer(bad.length);
      bad[at] = (bad[at] ?? 0) ^ (1 << prng.integer(8));
      const { blobs, repositories } = registry.content;
      const put = (content: Uint8Array): void => {
        if (manifestKind(mediaType) === undefined) blobs.set(digest, bytesContent(content));
        else repositories.get(name)?.manifests.set(digest, { bytes: content, mediaType });
      };
      put(bad);
      return () => put(bytes);
    };

    const scenario = async (seed: number, prng: Prng): Promise<ScenarioResult> => {
      const state = prng.pick(states);
      const cache = join(directory, `cache-${seed}`);
      const done: string[] = [];
      const mend: (() => void)[] = [];
      try {
        await cp(await pristine(state), cache, { recursive: true });
        for (const [name, subject] of subjects) {
          const digests = [...subject.store().repository(repository).blobs.keys()].map(digestHex);
          const isOurs = (path: string): boolean => digests.some((hex) => path.includes(hex));
          if (prng.integer(5) !== 0) {
            const victim = await damageCache(cache, prng, isOurs);
            if (victim !== undefined) done.push(`${name}: ${victim}`);
            continue;
          }
          mend.push(damageRegistry(name, subject, prng));
          done.push(`${name}: the registry`);
          const lost = prng.pick([
            ['decoded', 'partial', 'blobs'],
            ['decoded', 'partial', 'blobs', 'index'],
          ]);
          for (const path of await readdir(cache, { recursive: true }))
            if (lost.some((folder) => path.startsWith(`${folder}/`)) && isOurs(path))
              await rm(join(cache, path), { recursive: true, force: true });
        }
        const what = `seed ${seed}, ${state}: ${done.join(', ')}`;
        const first = await look(cache, seed);
        assert.deepEqual(first.wrong, [], what);
        // With everything right in the registry, the next one who mounts sees all of it.
        for (const put of mend.splice(0)) put();
        const second = await look(cache, seed + 1);
        assert.deepEqual([second.wrong, second.failed], [[], []], `${what}, at the second look`);
        return { faults: done.length, succeeded: first.succeeded, failed: first.failed.length };
      } finally {
        for (const put of mend) put();
        await rm(cache, { recursive: true, force: true });
      }
    };

    test('no flipped bit shows in what the addon opens, reads and receives by itself', async (t) => {
      const { faults, succeeded, failed } = await runScenarios(runOptions(20, 1), scenario);
      const count = (name: string): number => counts.get(name) ?? 0;
      t.diagnostic(
        `${faults} flips: ${succeeded} operations right, ${failed} errors, none wrong; ${count('sharedOpens')} files opened by the addon, ${count('reopens')} of them by JavaScript as well, ${count('backedReads')} reads answered by it`,
      );
      assert.ok(succeeded > faults * 10, 'hardly anything was compared');
      assert.ok(count('sharedOpens') > faults * 5 && count('backedReads') > 0);
    });
  },
);
