/** Signatures that other tools made or check: GnuPG and skopeo. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { mustRun, run, skipWithout } from '../support/child.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { pushImage } from '../support/push-image.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe(
  'signatures of other tools',
  { timeout: 300_000, skip: skipWithout('docker-registry', 'skopeo', 'gpg', 'gpgv') },
  () => {
    let directory: string;
    let docker: DockerRegistry;
    let imgfs: ImgfsCommand;
    let image: BuiltSingleImage;
    let name: string;
    let gpg: Record<string, string>;
    let fingerprint: string;
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

    before(async () => {
      directory = await makeTempDir('signed');
      docker = await startDockerRegistry();
      imgfs = imgfsIn(directory);
      image = await sampleImage();
      await pushImage(docker.url, 'group/app', image, 'v1');
      name = `${docker.host}/group/app:v1`;
      gpg = { ...(process.env as Record<string, string>), GNUPGHOME: join(directory, 'gnupg') };
      await mkdir(gpg['GNUPGHOME'] ?? '', { mode: 0o700 });
      const words = [
        '--batch',
        '--passphrase',
        '',
        '--quick-gen-key',
        'test@registry.test',
        'ed25519',
        'sign',
      ];
      await mustRun('gpg', words, { env: gpg });
      const { stdout } = await mustRun('gpg', ['--with-colons', '--list-keys'], { env: gpg });
      fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(stdout)?.[1] ?? '';
      const armored = await mustRun('gpg', ['--armor', '--export', fingerprint], { env: gpg });
      await writeFile(join(directory, 'key.asc'), armored.stdout);
      await writeFile(join(directory, 'key.pem'), publicKey.export({ type: 'spki', format: 'pem' }));
      await writeFile(join(directory, 'manifest.json'), image.manifests[0]?.bytes ?? '');
    });

    after(async () => {
      await run('gpgconf', ['--kill', 'all'], { env: gpg });
      await docker.close();
      await removeTempDir(directory);
    });

    const ok = async (...words: string[]): Promise<string> => {
      const { code, stdout, stderr } = await imgfs(words);
      assert.equal(code, 0, `imgfs ${words.join(' ')}: ${stderr}`);
      return stdout.trim();
    };
    const at = (file: string): string => join(directory, file);

    test('what skopeo signed with OpenPGP is put, found and verified; another key is not', async () => {
      const words = ['standalone-sign', '-o', at('app.sig'), at('manifest.json'), name, fingerprint];
      await mustRun('skopeo', words, { env: gpg });
      const lookaside = ['--lookaside', at('lookaside')];
      const place = await ok('signatures', 'put', name, '--simple', at('app.sig'), ...lookaside);
      assert.match(place, /signature-1$/);
      const verified = JSON.parse(
        await ok('verify', name, '--json', '--gpg-key', at('key.asc'), ...lookaside),
      ) as { manifestDigest: string; reasons: string[] };
      assert.equal(verified.manifestDigest, image.descriptor.digest);
      assert.match(verified.reasons[0] ?? '', new RegExp(fingerprint));
      await ok('signatures', 'ls', name, '--output', at('saved'), ...lookaside);
      const checked = ['standalone-verify', at('manifest.json'), name, fingerprint, at('saved/signature-1')];
      await mustRun('skopeo', checked, { env: gpg });
      const changed = await readFile(at('app.sig'));
      changed[changed.length - 10] = (changed[changed.length - 10] ?? 0) ^ 1;
      await mkdir(at('changed'), { recursive: true });
      await writeFile(at('changed.sig'), changed);
      await ok('signatures', 'put', name, '--simple', at('changed.sig'), '--lookaside', at('changed'));
      const refused = await imgfs(['verify', name, '--gpg-key', at('key.asc'), '--lookaside', at('changed')]);
      assert.equal(refused.code, 4);
      assert.match(refused.stderr, /denied/);
    });

    test('a policy.json decides as it does for skopeo', async () => {
      const policy = (requirement: object) =>
        JSON.stringify({
          default: [{ type: 'reject' }],
          transports: { docker: { [docker.host]: [requirement] } },
        });
      const signedIdentity = { type: 'matchRepository' };
      const base = `file://${at('policy-sigs')}`;
      await writeFile(
        at('signed.json'),
        policy({ type: 'signedBy', keyType: 'GPGKeys', keyPath: at('key.asc'), signedIdentity }),
      );
      await writeFile(at('reject.json'), policy({ type: 'reject' }));
      await writeFile(at('any.json'), policy({ type: 'insecureAcceptAnything' }));
      const places = `default-docker:\n  sigstore: ${base}\n`;
      await mkdir(at('registries.d'), { recursive: true });
      await writeFile(at('registries.d/x.yaml'), places);
      await mkdir(join(imgfs.home, '.config/containers/registries.d'), { recursive: true });
      await writeFile(join(imgfs.home, '.config/containers/registries.d/x.yaml'), places);
      let copies = 0;
      const skopeo = async (file: string): Promise<boolean> => {
        copies += 1;
        const words = [
          '--policy',
          at(file),
          '--registries.d',
          at('registries.d'),
          'copy',
          '--src-tls-verify=false',
        ];
        return (
          (await run('skopeo', [...words, `docker://${name}`, `dir:${at(`copied-${copies}`)}`])).code === 0
        );
      };
      const ours = async (file: string): Promise<boolean> =>
        (await imgfs(['verify', name, '--policy', at(file)])).code === 0;
      const both = async (): Promise<boolean[][]> =>
        Promise.all(
          ['signed.json', 'reject.json', 'any.json'].map(async (file) => [
            await skopeo(file),
            await ours(file),
          ]),
        );
      assert.deepEqual(await both(), [
        [false, false],
        [false, false],
        [true, true],
      ]);
      await ok('signatures', 'put', name, '--simple', at('app.sig'));
      assert.deepEqual(await both(), [
        [true, true],
        [false, false],
        [true, true],
      ]);
      const rejected = await imgfs(['verify', name, '--policy', at('reject.json')]);
      assert.match(rejected.stderr, /the policy rejects it/);
    });

    test('a signature by a key, made with what payload prints, is put under the tag of cosign', async () => {
      const unsigned = await imgfs(['verify', name, '--key', at('key.pem')]);
      assert.equal(unsigned.code, 4);
      const payload = await imgfs(['signatures', 'payload', name]);
      const signature = sign('sha256', Buffer.from(payload.stdout), privateKey).toString('base64');
      await writeFile(at('signature'), signature);
      assert.match(await ok('signatures', 'put', name, '--signature', at('signature')), /\.sig$/);
      assert.equal(await ok('verify', name, '--key', at('key.pem')), image.descriptor.digest);
      assert.match(await ok('tags', `${docker.host}/group/app`), /^sha256-[0-9a-f]{64}\.sig$/m);
      const other = await imgfs(['verify', name, '--key', at('key.pem'), '--identity', 'other.test/x:v1']);
      assert.equal(other.code, 4);
    });
  },
);
