/**
 * kill -9 at seeded moments during pushes: what close or fsync acknowledged is there, what was whole is finished by
 * the next process on the spool, and no tag ever names an image that is not whole.
 *
 * IMGFS_TEST_KILLS chooses how many; the default is what a test run can afford.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { UploadSpool } from '../../src/image/upload/spool.js';
import { isDigest } from '../../src/oci/digest.js';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { createPrng } from '../support/prng.js';
import { pushChildProgram, type Acknowledged, type PushPlan } from '../support/push-child.js';
import { assertTagsWhole, pushMount, until } from '../support/push-fixture.js';
import { tempDir } from '../support/temp.js';

const kills = Number(process.env['IMGFS_TEST_KILLS'] ?? 12);

/** Run until `afterMs` after it was ready; what it had acknowledged. */
async function pushAndKill(plan: PushPlan, afterMs: number): Promise<readonly Acknowledged[]> {
  const child = spawn(process.execPath, [pushChildProgram, JSON.stringify(plan)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, IMGFS_LOG: 'off' },
  });
  let text = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    if (text === '') setTimeout(() => child.kill('SIGKILL'), afterMs);
    text += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const hanging = setTimeout(() => child.kill('SIGKILL'), 30_000);
  const signal = await new Promise((resolve) => child.once('close', (_code, by) => resolve(by)));
  clearTimeout(hanging);
  assert.equal(signal, 'SIGKILL', stderr);
  // The last line may have been cut by the kill: then nobody has read it.
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Acknowledged);
}

/** What was promised at the moment of the kill. */
async function assertKept(
  registry: FaultRegistry,
  directory: string,
  said: readonly Acknowledged[],
  when: string,
) {
  const repository = registry.content.repositories.get('app');
  const spooled = await new UploadSpool(directory).list();
  const manifests = new Set(
    spooled.flatMap(({ state }) => (state.manifest?.tag === undefined ? [] : [state.manifest.tag])),
  );
  for (const what of said) {
    if (what.kind === 'blob')
      assert.ok(isDigest(what.digest) && repository?.blobs.has(what.digest), `${when}: ${what.digest}`);
    if (what.kind === 'image')
      assert.equal(repository?.tags.get(what.tag), what.digest, `${when}: ${what.tag}`);
    if (what.kind === 'manifest')
      assert.ok(
        repository?.tags.has(what.tag) === true || manifests.has(what.tag),
        `${when}: manifest of ${what.tag}`,
      );
  }
  assertTagsWhole(registry, when);
}

test(`${kills} times kill -9 during pushes`, { timeout: 60_000 + kills * 5_000 }, async (t) => {
  const random = createPrng(11);
  const counts: Record<string, number> = {};
  const registry = await startFaultRegistry();
  const directory = await tempDir(t, 'push-kill');
  t.after(() => registry.close());
  for (let round = 0; round < kills; round += 1) {
    const when = `kill ${round}`;
    const plan = { host: registry.host, url: registry.url, directory, seed: round + 1 };
    const said = await pushAndKill(plan, random.integer(400));
    for (const { kind } of said) counts[kind] = (counts[kind] ?? 0) + 1;
    await assertKept(registry, directory, said, when);

    const mount = pushMount(registry, directory);
    const uploads = `${registry.host}/app/@uploads`;
    const names = async () => mount.tree.list(uploads).catch(() => [] as string[]);
    const isIdle = async () =>
      (await new UploadSpool(directory).list()).every(({ state }) => state.phase !== 'committing');
    await until(`${when}: what was whole is finished`, isIdle);
    for (const what of said) {
      if (what.kind !== 'session') continue;
      const session = `${uploads}/${what.name}`;
      await until(`${when}: ${what.name} is back`, async () => (await names()).includes(what.name));
      const data = await mount.tree.read(`${session}/data`);
      const expected = createPrng(what.seed).bytes(600_000).subarray(0, what.size);
      assert.ok(data.subarray(0, what.size).equals(expected), `${when}: data of ${what.name}`);
    }
    assertTagsWhole(registry, `${when}, afterwards`);
    // What is left is given up, as a user would: the spool must be able to become empty.
    let refusals: string[] = [];
    const giveUp = async (name: string): Promise<void> => {
      const path = `${uploads}/${name}`;
      // A file, or the directory of a session.
      await mount.rm(path).catch(() => mount.rmdir(path));
    };
    await until(`${when}: everything is shown, and can be given up`, async () => {
      refusals = [];
      // Some are gone before their turn: what was whole has been put meanwhile.
      for (const name of await names())
        await giveUp(name).catch((error: unknown) => refusals.push(`${name}: ${String(error)}`));
      return (await new UploadSpool(directory).list()).length === 0;
    }).catch(async (error: unknown) => {
      const left = await new UploadSpool(directory).list();
      assert.fail(
        `${String(error)}\n${JSON.stringify({ names: await names(), refusals, left }, undefined, 1)}`,
      );
    });
    await mount.close();
  }
  t.diagnostic(`acknowledged: ${JSON.stringify(counts)}`);
});
