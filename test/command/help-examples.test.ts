/**
 * Every example that `--help` and the manual page show is run as it stands, by a shell that finds `imgfs`. What hosts
 * are named in them registries.conf leads to a registry of this process; `sha256:…` is filled in, nothing else is changed.
 */
import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { firstExamples } from '../../src/cli/help.js';
import { verbs } from '../../src/cli/verbs.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { buildSaved } from '../support/archive-writer.js';
import { mustRun, run, skipWithout, type RunResult } from '../support/child.js';
import { startFakeEngine } from '../support/fake-engine.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { buildArtifact, buildIndex, sampleImage } from '../support/image-builder.js';
import { imgfsIn, imgfsMain } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount } from '../support/mounted.js';
import { tempDir } from '../support/temp.js';

const hosts = ['docker.io', 'ghcr.io', 'registry.local:5000', 'registry.example:5000'];
const spdx = 'application/spdx+json';

const small = { payloadBytes: 2_000 };
const amd64 = await sampleImage(small);
/** With a layer that is worth a SOCI index. */
const large = await sampleImage({ payloadBytes: 600_000, seed: 5 });
const arm64 = await sampleImage({ ...small, seed: 2, platform: { os: 'linux', architecture: 'arm64' } });
const other = await sampleImage({ ...small, seed: 3 });
const old = await sampleImage({ ...small, seed: 4 });
const statement = { _type: 'x', predicateType: 'https://spdx.dev/Document', predicate: { packages: [] } };
const multi = await buildIndex([amd64, arm64]);
const attested = await buildIndex([amd64, arm64], { attestation: () => statement });
const sbomOf = (title: string) =>
  buildArtifact({
    artifactType: spdx,
    subject: multi.descriptor,
    files: [
      { title, content: `{"spdxVersion":"SPDX-2.3","name":"${title}","packages":[]}`, mediaType: spdx },
    ],
  });

async function makeRegistry(t: TestContext) {
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  const add = (...image: Parameters<typeof registry.addImage>) => registry.addImage(...image);
  for (const tag of ['3.19', 'latest']) add('library/alpine', other, tag);
  add('library/alpine', multi, '3.20');
  add('library/alpine', sbomOf('one.json'));
  for (const name of ['app', 'a', 'b'])
    for (const tag of ['v1', 'latest']) add(`library/${name}`, amd64, tag);
  add('library/app', other, 'v2');
  add('me/app', large, 'v1');
  add('me/app', amd64, 'v1-amd64');
  add('me/app', arm64, 'v1-arm64');
  add('me/app', old, 'old');
  for (const name of ['a', 'b']) add(`me/${name}`, amd64, 'v1');
  // Docker Hub's search, which is beside its registry.
  registry.fault({
    match: { path: /^\/v1\/search/ },
    fault: { kind: 'status', status: 200, body: '{"num_results":1,"results":[{"name":"alpine"}]}' },
  });
  return registry;
}

/** Files that the examples name, in the directory where they are run, and a `docker` that takes and gives archives. */
async function makeFiles(directory: string, host: string): Promise<void> {
  const at = (...parts: string[]): string => join(directory, ...parts);
  for (const folder of ['home/.config/containers', 'home/images', 'm', 'dir', 'bin', 'sigs', 'pkg/init'])
    await mkdir(at(folder), { recursive: true });
  const tables = hosts.map(
    (name) => `[[registry]]\nprefix = "${name}"\nlocation = "${host}"\ninsecure = true\n`,
  );
  await writeFile(at('home/.config/containers/registries.conf'), tables.join('\n'));
  await writeFile(
    at('home/.config/containers/policy.json'),
    '{"default":[{"type":"insecureAcceptAnything"}]}',
  );
  const saved = await buildSaved([{ image: amd64, tags: ['app:v1'] }]);
  for (const name of ['old.tar', 'saved.tar']) await writeFile(at(name), saved);
  await writeFile(at('layer.tar.gz'), amd64.layers[0]?.bytes ?? '');
  await writeFile(at('manifest.json'), amd64.manifests[0]?.bytes ?? '');
  for (const name of ['sbom.json', 'scan.sarif']) await writeFile(at(name), '{}');
  await writeFile(at('token'), 'secret\n');
  await writeFile(at('pkg/init/build.yml'), 'image: init\n');
  await writeFile(at('linuxkit.yml'), 'init:\n  - "@pkg:pkg/init"\n');
  const commands = {
    imgfs: `exec '${process.execPath}' '${imgfsMain}' "$@"`,
    docker: `case $1 in save) cat '${at('saved.tar')}' ;; load) exec tar -tf - >/dev/null ;; *) exit 64 ;; esac`,
  };
  for (const [name, line] of Object.entries(commands)) {
    await writeFile(at('bin', name), `#!/bin/sh\n${line}\n`);
    await chmod(at('bin', name), 0o755);
  }
  for (const name of ['arm64', 'all']) await writeLayout(at(name), [{ image: multi, name: 'v1' }]);
  await writeLayout(at('layout'), [
    { image: amd64, name: 'tag' },
    { image: amd64, name: 'v1' },
  ]);
  await mustRun('tar', ['-cf', at('image.tar'), '-C', at('all'), '.']);
  await mustRun('sh', ['-c', keysAndSources], { cwd: directory });
}

/** Keys of the kinds that are named, and a git work tree. */
const keysAndSources = `set -e
openssl ecparam -name prime256v1 -genkey -noout -out key.pem 2>/dev/null
openssl ec -in key.pem -pubout -out cosign.pub 2>/dev/null
openssl req -x509 -new -key key.pem -subj /CN=test -days 2 -out root.pem 2>/dev/null
export GNUPGHOME="$PWD/gpg"; mkdir -m 700 gpg
gpg --batch --quiet --passphrase '' --quick-generate-key me@example.test ed25519 sign 2>/dev/null
gpg --batch --quiet --armor --export > me.asc
printf '{"critical":{"type":"atomic container signature","image":{"docker-manifest-digest":"%s"},"identity":{"docker-reference":"ghcr.io/me/app:v1"}},"optional":{}}' "${large.descriptor.digest}" |
  gpg --batch --quiet --pinentry-mode loopback --passphrase '' --sign --output app.sig 2>/dev/null
gpgconf --kill all
git init -q .; git add pkg; git -c user.name=x -c user.email=x@y commit -qm x`;

interface Scene {
  readonly directory: string;
  readonly sh: (line: string) => Promise<RunResult>;
  readonly registry: Awaited<ReturnType<typeof makeRegistry>>;
}

/** What an example needs that the others have not left behind. */
const before: Readonly<Record<string, (scene: Scene) => Promise<unknown>>> = {
  // Others have moved the tag.
  'imgfs signatures ls ghcr.io/me/app:v1': async ({ registry }) => registry.addImage('me/app', large, 'v1'),
  'imgfs index push ghcr.io/me/app:v1': async ({ registry }) => registry.addImage('me/app', large, 'v1'),
  'imgfs sbom alpine:3.20 --index 1': async ({ registry }) =>
    registry.addImage('library/alpine', sbomOf('two.json')),
  'imgfs sbom alpine:3.20 --attestations': async ({ registry }) =>
    registry.addImage('library/alpine', attested, '3.20'),
  'imgfs manifest rm ghcr.io/me/app:old --check-referrers': async ({ registry }) =>
    registry.addImage('me/app', old, 'old'),
  'imgfs cache check alpine:3.20': ({ sh }) => sh('imgfs pull alpine:3.20'),
  'imgfs cache index me/app:v1 me/app:v1-amd64 linux/arm64=me/app:v1-arm64': ({ sh }) =>
    sh('imgfs pull me/app:v1-amd64 && imgfs pull me/app:v1-arm64'),
  'imgfs umount ~/images': ({ sh }) => sh('imgfs mount ~/images'),
};

/** Examples whose answer is no here, with what they say: nobody made a notation signature. */
const refused: Readonly<Record<string, RegExp>> = {
  'imgfs verify ghcr.io/me/app:v1 --notation-ca root.pem': /it has no notation signature/,
};

/** With the digest that it shortens, by what it is for; what stays in the foreground beside what ends it. */
function asRun(line: string): string {
  const digest = line.startsWith('imgfs rm ') ? old.descriptor.digest : amd64.config.descriptor.digest;
  const whole = line.replace('sha256:…', digest);
  if (!line.includes('--foreground')) return whole;
  return `${whole} & until mountpoint -q m; do kill -0 $! || exit; sleep 0.05; done; imgfs umount m; wait $!`;
}

const skip = skipWithoutMount('native') || skipWithout('bash', 'jq', 'git', 'gpg', 'openssl', 'tar');

test('every example of --help does what it says', { skip, timeout: 300_000 }, async (t) => {
  const directory = await tempDir(t, 'examples');
  const registry = await makeRegistry(t);
  await makeFiles(directory, registry.host);
  const engine = await startFakeEngine(t);
  const environment = {
    ...imgfsIn(directory).environment,
    PATH: `${join(directory, 'bin')}:${process.env['PATH'] ?? ''}`,
    DOCKER_HOST: `unix://${engine.socket}`,
  };
  const sh = (line: string): Promise<RunResult> =>
    run('bash', ['-o', 'pipefail', '-c', line], { cwd: directory, env: environment });
  const scene: Scene = { directory, sh, registry };
  const unmountAll = async (): Promise<void> => {
    for (const path of ['m', 'home/images'])
      if ((await findMount(join(directory, path))) !== undefined)
        await sh(`imgfs umount ${join(directory, path)}`);
  };
  t.after(async () => {
    for (const path of ['m', 'home/images'].map((part) => join(directory, part)))
      if ((await findMount(path)) !== undefined) await unmountPath(path, { lazy: true });
  });
  const examples = new Set(firstExamples.map(([line]) => line));
  for (const { load } of verbs) for (const [line] of (await load()).examples ?? []) examples.add(line);
  for (const line of [...Object.keys(before), ...Object.keys(refused)])
    assert.ok(examples.has(line), `${line} is an example no more`);
  for (const line of examples) {
    await t.test(line, async () => {
      await before[line]?.(scene);
      const { code, stdout, stderr } = await sh(asRun(line));
      await unmountAll();
      const no = refused[line];
      if (no === undefined) assert.equal(code, 0, `${stdout}${stderr}`);
      else assert.match(stderr, no);
    });
  }
});
