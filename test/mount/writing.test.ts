/** Writing as a user does it: cp, mkdir, ln, mv and rmdir in a mounted tree, over a real registry and each driver. */
import assert from 'node:assert/strict';
import { writeFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { digestOf } from '../../src/oci/digest.js';
import { createPrng } from '../support/prng.js';
import { run, skipWithout } from '../support/child.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount, type DriverName } from '../support/mounted.js';
import { pushImage } from '../support/push-image.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

for (const driver of ['native', 'fuse-native'] satisfies DriverName[]) {
  const skip =
    skipWithoutMount(driver) || skipWithout('docker-registry', 'skopeo', 'getfattr', 'fusermount3');
  describe(`writing through the ${driver} driver`, { skip, timeout: 240_000 }, () => {
    let docker: DockerRegistry;
    let directory: string;
    let mountPoint: string;
    let imgfs: ImgfsCommand;
    let image: BuiltSingleImage;
    let host: string;
    let app: string;

    before(async () => {
      docker = await startDockerRegistry();
      directory = await makeTempDir('mount-writing');
      mountPoint = join(directory, 'mnt');
      await mkdir(mountPoint);
      imgfs = imgfsIn(directory);
      image = await sampleImage({ payloadBytes: 5_000_000 });
      await pushImage(docker.url, 'group/app', image, 'v1');
      await writeLayout(join(directory, 'layout'), [{ image, name: 'base' }]);
      host = join(mountPoint, docker.host);
      app = join(host, 'group', 'app');
      const mounted = await imgfs([
        'mount', mountPoint, '--driver', driver, '--store', `local=oci:${join(directory, 'layout')}`,
        '--allow-overwrite', '--allow-delete', '--tag-delete-fallback',
      ]); // prettier-ignore
      assert.equal(mounted.code, 0, mounted.stderr);
    });

    after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await docker.close();
      await removeTempDir(directory);
    });

    const shell = async (script: string, ...words: string[]): Promise<string> => {
      const { code, stdout, stderr } = await run('bash', ['-euc', script, '-', ...words], {
        timeoutMs: 60_000,
      });
      assert.equal(code, 0, `${script}: ${stderr}`);
      return stdout.trim();
    };
    const skopeoDigest = async (name: string): Promise<string> => {
      const { code, stdout, stderr } = await run('skopeo', [
        'inspect',
        '--tls-verify=false',
        `docker://${docker.host}/${name}`,
      ]);
      assert.equal(code, 0, stderr);
      return JSON.parse(stdout).Digest;
    };

    test('cp to @uploads: the blob is in the registry when cp returns', async () => {
      const bytes = createPrng(4).bytes(20_000_000);
      await writeFile(join(directory, 'blob'), bytes);
      await shell('cp "$1" "$2/@uploads/"', join(directory, 'blob'), app);
      const digest = await shell(
        'getfattr --absolute-names --only-values -n user.oci.digest "$1/@uploads/blob"',
        app,
      );
      assert.equal(digest, digestOf(bytes));
      const head = await fetch(`${docker.url}/v2/group/app/blobs/${digest}`, { method: 'HEAD' });
      assert.equal(head.headers.get('content-length'), String(bytes.length));
    });

    test('cp under a wrong digest is EINVAL', async () => {
      const name = `sha256:${'0'.repeat(64)}`;
      const { code, stderr } = await run('cp', [join(directory, 'blob'), join(app, '@uploads', name)]);
      assert.equal(code, 1);
      assert.match(stderr, /Invalid argument/);
      await shell('rm "$1"', join(app, '@uploads', name));
    });

    test('cp -r of an image directory makes an equal image that skopeo takes', async () => {
      const source = join(app, 'v1');
      const minimal = join(directory, 'minimal');
      await shell(
        'mkdir -p "$2/layers"; cp "$1/manifest.json" "$1/config.json" "$2"; cp "$1"/layers/*.tar.gz "$2/layers"',
        source,
        minimal,
      );
      await shell('mkdir "$1" && cp -r "$2" "$1/v1"', join(host, 'copied'), minimal);
      assert.equal(await skopeoDigest('copied:v1'), image.descriptor.digest);
      const copied = await run('skopeo', [
        'copy',
        '--src-tls-verify=false',
        `docker://${docker.host}/copied:v1`,
        `dir:${join(directory, `sk-${driver}`)}`,
      ]);
      assert.equal(copied.code, 0, copied.stderr);
      await shell('cp -r "$1" "$2/local/copy"', minimal, mountPoint);
      assert.equal(await shell('cat "$1/local/copy/digest"', mountPoint), image.descriptor.digest);
    });

    // Without root it needs subordinate user ids, which an ordinary account has and nobody has not.
    const noPodman = process.getuid?.() === 0 ? skipWithout('podman') : 'podman runs as root here';
    test('podman pulls what cp made', { skip: noPodman }, async () => {
      const storage = ['--root', join(directory, 'podman'), '--runroot', join(directory, 'podman-run')];
      const podman = async (...words: string[]): Promise<string> => {
        const { code, stdout, stderr } = await run(
          'podman',
          [...storage, '--storage-driver', 'vfs', ...words],
          {
            timeoutMs: 60_000,
          },
        );
        assert.equal(code, 0, stderr);
        return stdout.trim();
      };
      const name = `${docker.host}/copied:v1`;
      await podman('pull', '--quiet', '--tls-verify=false', name);
      assert.equal(
        await podman('image', 'inspect', '--format', '{{.Digest}}', name),
        image.descriptor.digest,
      );
      await podman('rmi', '--force', name);
    });

    test('an archive that skopeo saved becomes a tag', async () => {
      const archive = join(directory, `saved-${driver}.tar`);
      await shell(
        'rm -f "$1"; skopeo copy -q --src-tls-verify=false "docker://$2/group/app:v1" "oci-archive:$1"; mkdir "$3/loaded"; cp "$1" "$3/loaded/image.tar"; rm "$1"',
        archive,
        docker.host,
        app,
      );
      assert.equal(await skopeoDigest('group/app:loaded'), image.descriptor.digest);
      await shell('rmdir "$1/loaded"', app);
    });

    test('a session takes parts by >> and is committed by its digest', async () => {
      const parts = createPrng(9).bytes(3_000_000);
      await writeFile(join(directory, 'part1'), parts.subarray(0, 1_000_000));
      await writeFile(join(directory, 'part2'), parts.subarray(1_000_000));
      await shell(
        'mkdir "$1/@uploads/s"; cat "$2/part1" >> "$1/@uploads/s/data"; cat "$2/part2" >> "$1/@uploads/s/data"; echo "$3" > "$1/@uploads/s/digest"; rm -r "$1/@uploads/s"',
        app,
        directory,
        digestOf(parts),
      );
      const head = await fetch(`${docker.url}/v2/group/app/blobs/${digestOf(parts)}`, { method: 'HEAD' });
      assert.equal(head.headers.get('content-length'), String(parts.length));
    });

    test('a manifest before its blobs, by hand, is EINVAL, and they finish it', async () => {
      const unseen = await sampleImage({ seed: 77 });
      const files = join(directory, 'unseen');
      await mkdir(files, { recursive: true });
      for (const { descriptor, bytes } of unseen.blobs)
        await writeFile(join(files, descriptor.digest), bytes);
      const manifest = join(directory, 'unseen.json');
      await writeFile(manifest, unseen.manifests[0]?.bytes ?? '');
      await shell('mkdir -p "$1/hand/v1"', host);
      const { code, stderr } = await run('cp', [manifest, join(host, 'hand', 'v1', 'manifest.json')]);
      // libfuse 2's binding does not say who asks: then it might be `cp -r`.
      assert.equal(code, driver === 'native' ? 1 : 0);
      if (driver === 'native') assert.match(stderr, /Invalid argument/);
      assert.equal(await shell('ls "$1/hand/@uploads"', host), 'v1:manifest.json');
      await shell('cp "$1"/sha256:* "$2/hand/@uploads/"', files, host);
      assert.equal(await skopeoDigest('hand:v1'), unseen.descriptor.digest);
    });

    test('cp between repositories is a mount: the registry says so', async () => {
      const layer = image.blobs.at(-1)?.descriptor;
      assert.ok(layer);
      await shell('mkdir "$2" && cp "$1/v1/layers/1.tar.gz" "$2/@uploads/layer"', app, join(host, 'mounted'));
      const head = await fetch(`${docker.url}/v2/mounted/blobs/${layer.digest}`, { method: 'HEAD' });
      assert.equal(head.status, 200);
      const how = await shell(
        'getfattr --absolute-names --only-values -n user.imgfs.upload.how "$1/@uploads/layer"',
        join(host, 'mounted'),
      );
      assert.match(how, /mounted/);
      // One request, and none that brings bytes.
      const requests = [
        ...docker.log().matchAll(/"(\S+) \/v2\/mounted\/blobs\/uploads\/(\S*) HTTP\/1\.1" (\d+)/g),
      ];
      assert.deepEqual(
        requests.map(([, ...request]) => request),
        [
          [
            'POST',
            `?mount=${encodeURIComponent(layer.digest)}&from=${encodeURIComponent('group/app')}`,
            '201',
          ],
        ],
      );
    });

    test('mkdir and cp, ln -s, mv and rmdir make, move and delete tags', async () => {
      await shell('mkdir "$1/v2" && cp "$1/v1/manifest.json" "$1/v2/"', app);
      await shell('ln -s v2 "$1/v3" && mv "$1/v3" "$1/v4"', app);
      assert.equal(await skopeoDigest('group/app:v4'), image.descriptor.digest);
      await shell('rmdir "$1/v2"', app);
      const tags = await shell('ls "$1/@tags"', app);
      assert.deepEqual(
        tags.split('\n').toSorted((a, b) => a.localeCompare(b)),
        ['v1', 'v4'],
      );
    });

    test('what is no manifest is EINVAL with its cause, elsewhere EPERM', async () => {
      await shell('mkdir "$1/bad"', app);
      await writeFile(join(directory, 'brace'), '{');
      const bad = await run('cp', [join(directory, 'brace'), join(app, 'bad', 'manifest.json')]);
      assert.match(bad.stderr, /Invalid argument/);
      const why = await shell(
        'getfattr --absolute-names --only-values -n user.imgfs.error "$1/bad/manifest.json"',
        app,
      );
      assert.match(why, /put manifest/);
      const other = await run('bash', ['-c', 'echo x > "$1/v1/notes"', '-', app]);
      assert.match(other.stderr, /not permitted/);
      await shell('rmdir "$1/bad"', app);
    });

    test('dd with random writes, and a group of commands into one file', async () => {
      await shell(
        'printf "hello     " > "$2/x"; printf world | dd of="$2/x" bs=1 seek=6 conv=notrunc status=none; cp "$2/x" "$1/@uploads/x"; { cat "$2/x"; cat "$2/x"; } > "$1/@uploads/twice"',
        app,
        directory,
      );
      const digest = await shell(
        'getfattr --absolute-names --only-values -n user.oci.digest "$1/@uploads/twice"',
        app,
      );
      const expected = Buffer.from('hello worldhello world');
      assert.equal(digest, digestOf(expected));
    });

    test('umount waits, and nothing is left in the spool', async () => {
      assert.equal((await imgfs(['umount', mountPoint])).code, 0);
      const spool = join(directory, 'home', '.cache', 'imgfs', 'uploads');
      assert.deepEqual(await readdir(spool).catch(() => []), []);
    });
  });
}
