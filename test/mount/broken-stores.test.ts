/** Stores of one mount that cannot be used: each says why, and the others are as if they were not there. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { run } from '../support/child.js';
import { buildSaved } from '../support/archive-writer.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount } from '../support/mounted.js';
import { buildTar } from '../support/tar-builder.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const skip = skipWithoutMount('native');

test(
  'stores that cannot be used do not touch the others of a mount',
  { skip, timeout: 120_000 },
  async (t) => {
    const directory = await makeTempDir('broken');
    const at = (name: string): string => join(directory, name);
    const mountPoint = at('mnt');
    t.after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await removeTempDir(directory);
    });
    await mkdir(mountPoint);
    const image = await sampleImage();
    await writeLayout(at('layout'), [{ image, name: 'v1' }]);
    const saved = await buildSaved([{ image, tags: ['a:b'] }]);
    await writeFile(at('cut.tar'), saved.subarray(0, 100_000));
    await writeFile(at('neither.tar'), await buildTar([{ name: 'x', content: 'y' }]));
    await mkdir(at('config'));
    await writeFile(at('config/config.toml'), `[stores]\nconfigured = "oci:${at('layout')}"\n`);
    const broken = {
      cut: [`docker-archive:${at('cut.tar')}`, /cut short/],
      absent: [`oci-archive:${at('absent.tar')}`, /no such file/],
      neither: [`docker-archive:${at('neither.tar')}`, /no manifest\.json/],
      engine: [`docker-daemon:[${at('no.sock')}]`, /no engine there/],
      containerd: [`containerd:[default@${directory}]`, /meta\.db/],
      podman: [`containers-storage:[${directory}]`, /no images of podman/],
      sif: [`sif:${at('cut.tar')}`, /does not begin as one/],
      tarball: [`tarball:${at('config/config.toml')}`, /not a tar file/],
    } as const;
    const imgfs = imgfsIn(directory);
    const env = { IMGFS_CONFIG: at('config/config.toml') };
    const stores = Object.entries(broken).flatMap(([name, [location]]) => ['--store', `${name}=${location}`]);
    // A store of which a policy takes nothing is one more that must not touch the others.
    await writeLayout(at('rejected'), [{ image, name: 'v1' }]);
    const scopes = { oci: { [at('rejected')]: [{ type: 'reject' }] } };
    const accept = [{ type: 'insecureAcceptAnything' }];
    await writeFile(at('policy.json'), JSON.stringify({ default: accept, transports: scopes }));
    const more = ['--store', `good=oci:${at('layout')}`, '--store', `rejected=oci:${at('rejected')}`];
    const words = ['mount', mountPoint, ...stores, ...more, '--policy', at('policy.json')];
    const unread = await imgfs([...words.slice(0, -1), at('no-policy.json')], { env });
    assert.match(unread.stderr, /read policy .*no-policy\.json/);
    const mounted = await imgfs(words, { env });
    assert.equal(mounted.code, 0, mounted.stderr);
    for (const [name, [, says]] of Object.entries(broken)) {
      const listed = await run('ls', [join(mountPoint, name)], { timeoutMs: 20_000 });
      assert.notEqual(listed.code, 0, `${name}: ${listed.stdout}`);
      const errors = await run('cat', [join(mountPoint, '.imgfs/errors.ndjson')]);
      assert.match(errors.stdout, says, name);
    }
    const rejected = await run('cat', [join(mountPoint, 'rejected/v1/manifest.json')]);
    assert.match(rejected.stderr, /Permission denied/);
    const reason = await run('cat', [join(mountPoint, '.imgfs/errors.ndjson')]);
    assert.match(reason.stdout, /oci:.*rejected: the policy rejects it/);
    for (const name of ['good', 'configured']) {
      const { stdout, stderr } = await run('cat', [join(mountPoint, name, 'v1/manifest.json')]);
      assert.deepEqual(Buffer.from(stdout), Buffer.from(image.manifests[0]?.bytes ?? []), stderr);
    }
    const { stdout } = await run('ls', [mountPoint]);
    assert.deepEqual(
      stdout.trim().split('\n'),
      [...Object.keys(broken), 'configured', 'good', 'rejected', 'blobs'].sort(),
    );

    const checked = await imgfs(['config', 'check'], { env });
    assert.equal(checked.code, 0, checked.stderr);
    await writeFile(at('config/config.toml'), `[stores]\ncut = "docker-archive:${at('cut.tar')}"\n`);
    const refused = await imgfs(['config', 'check'], { env });
    assert.notEqual(refused.code, 0);
    assert.match(refused.stdout, /bad\s+cut = .*cut short/);
  },
);
