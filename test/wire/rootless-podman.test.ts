/** A storage that podman has filled without root, in a user namespace, read by the same user without one. */
import assert from 'node:assert/strict';
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { digestHex } from '../../src/oci/digest.js';
import { buildSaved } from '../support/archive-writer.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { sampleImage } from '../support/image-builder.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

/** nobody */
const uid = 65534;
const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const skip =
  skipWithout('podman', 'setpriv', 'unshare') ||
  (process.getuid?.() !== 0 && 'needs root, to be somebody else');

test(
  'imgfs reads what podman keeps for a user, layers byte for byte',
  { skip, timeout: 120_000 },
  async (t) => {
    const directory = await makeTempDir('rootless');
    const home = join(directory, 'home');
    const asUser = (...words: string[]) => {
      const environment = [
        `PATH=${process.env['PATH'] ?? ''}`,
        `HOME=${home}`,
        `XDG_RUNTIME_DIR=${home}/run`,
      ];
      const user = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups'];
      return run('setpriv', [...user, 'env', '-i', ...environment, ...words], { timeoutMs: 60_000 });
    };
    t.after(async () => {
      // Ends the process that keeps the namespace.
      await asUser('podman', 'system', 'migrate');
      await removeTempDir(directory);
    });
    await chmod(directory, 0o755);
    const conf = join(home, '.config/containers/storage.conf');
    for (const folder of [home, join(home, 'run'), join(home, '.config'), dirname(conf)]) {
      await mkdir(folder);
      await chown(folder, uid, uid);
    }
    const options = '[storage.options.overlay]\nignore_chown_errors = "true"\n';
    await writeFile(
      conf,
      `[storage]\ndriver = "overlay"\ngraphroot = "$HOME/graph"\nrunroot = "${home}/run/c"\n${options}`.replace(
        '$HOME',
        home,
      ),
    );
    const image = await sampleImage();
    const archive = join(directory, 'app.tar');
    await writeFile(archive, await buildSaved([{ image, tags: ['localhost/app:v1'] }]));
    const namespace = await asUser('unshare', '--user', '--map-root-user', 'true');
    if (namespace.code !== 0) return t.skip('user namespaces are switched off here');
    const readable = await asUser('node', main, '--version');
    if (readable.code !== 0) return t.skip('the other user cannot read this checkout');
    const loaded = await asUser('podman', 'load', '-q', '-i', archive);
    assert.equal(loaded.code, 0, loaded.stderr);
    const copied = await asUser(
      'node',
      main,
      'cp',
      'containers-storage:localhost/app:v1',
      `oci:${home}/out:v1`,
    );
    assert.equal(copied.code, 0, copied.stderr);
    for (const { diffId, tar } of image.layers)
      assert.deepEqual(await readFile(join(home, 'out/blobs/sha256', digestHex(diffId))), Buffer.from(tar));
    const listed = await mustRun('node', [
      main,
      'tags',
      `containers-storage:[overlay@${home}/graph]localhost/app`,
    ]);
    assert.equal(listed.stdout.trim(), 'v1');
  },
);
