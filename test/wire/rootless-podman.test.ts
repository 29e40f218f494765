/** A storage that podman has filled without root, in a user namespace, read by the same user without one. */
import assert from 'node:assert/strict';
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { digestHex } from '../../src/oci/digest.js';
import { buildSaved } from '../support/archive-writer.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { addStoredImage } from '../support/containers-storage.js';
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

/** As podman keeps files of an image that belong to a user of the image: the user's first subordinate id and 999 more. */
const subordinate = { first: 200_000, count: 65_536, owner: 200_999 };

test(
  'files of subordinate users: read in the user namespace and by root, and to the user alone it is said how',
  { skip: skip || skipWithout('nsenter'), timeout: 120_000 },
  async (t) => {
    const directory = await makeTempDir('subuid');
    t.after(() => removeTempDir(directory));
    await chmod(directory, 0o755);
    const image = await sampleImage();
    const root = join(directory, 'graph');
    const ids = await addStoredImage(root, image, ['localhost/app:v1']);
    const payload = join(root, 'overlay', ids[1] ?? '', 'diff/usr/payload');
    await chown(payload, subordinate.owner, subordinate.owner);
    await chmod(payload, 0o600);
    const top = image.layers[1];
    assert.ok(top);
    const { first, count } = subordinate;
    // root gives the namespace its ids by itself: newuidmap would ask /etc/subuid.
    const map = `0 ${first} ${count}`;
    const script = `
      unshare --user sleep 60 & space=$!
      tries=0
      until echo '${map}' > /proc/$space/uid_map; do tries=$((tries + 1)); [ $tries -lt 100 ] || break; sleep 0.05; done 2> /dev/null
      echo '${map}' > /proc/$space/gid_map
      nsenter --user --target $space -- "$@"; code=$?
      kill $space; exit $code`;
    const inNamespace = ['sh', '-c', script, 'sh'];
    const asUser = ['setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups'];
    const store = `containers-storage:[overlay@${root}]localhost/app:v1`;
    const copy = async (name: string, before: readonly string[]) => {
      const home = join(directory, name);
      await mkdir(home);
      await chmod(home, 0o777);
      const words = [...before, 'env', '-i', `PATH=${process.env['PATH'] ?? ''}`, `HOME=${home}`];
      const done = await run('env', [...words, 'node', main, 'cp', store, `oci:${home}/out:v1`], {
        timeoutMs: 60_000,
      });
      return { ...done, blob: join(home, 'out/blobs/sha256', digestHex(top.diffId)) };
    };
    if ((await run('unshare', ['--user', 'true'])).code !== 0) return t.skip('no user namespaces here');
    for (const [name, before] of [
      ['root', []],
      ['namespace', inNamespace],
    ] as const) {
      const { code, stderr, blob } = await copy(name, before);
      assert.equal(code, 0, `${name}: ${stderr}`);
      assert.deepEqual(await readFile(blob), Buffer.from(top.tar), name);
    }
    const alone = await copy('alone', asUser);
    if (/Cannot find module|MODULE_NOT_FOUND/.test(alone.stderr))
      return t.skip('the other user cannot read this checkout');
    assert.equal(alone.code, 4, alone.stderr);
    assert.match(alone.stderr, /usr\/payload: .*permission denied/i);
    assert.match(alone.stderr, /next step: .*run imgfs in podman unshare/);
  },
);
