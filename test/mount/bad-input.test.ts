/**
 * Bad input, sentence by sentence: each through one mount and by the command, with its errno, its exit code, a message
 * that names the cause and the next step; and after each the mount serves everything else.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import type { FaultRegistryOptions } from '../support/fault-registry/options.js';
import type { Fault } from '../support/fault-registry/fault.js';
import { sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { skipWithoutMount } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const repository = 'g/app';

interface Case {
  readonly name: string;
  readonly options?: FaultRegistryOptions;
  readonly fault?: Fault;
  /** What the fault strikes. Default: all manifests. */
  readonly path?: RegExp;
  /** Instead of a registry: a host. */
  readonly host?: string;
  /** Below the repository. Default: the manifest. */
  readonly file?: string;
  readonly errno: string;
  readonly exit: number;
  readonly says: RegExp;
  /** The next step, where there is one but to try again. */
  readonly hint?: RegExp;
  readonly trustCa?: true;
  /** Change the registry before it is asked. */
  readonly prepare?: (registry: FaultRegistry) => void;
}

const manifest = /\/manifests\//;
const blob = /\/blobs\//;
const layer = 'layers/0.tar.gz';
const bytesOf = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const status = (code: number, more: Partial<Extract<Fault, { kind: 'status' }>> = {}): Fault => ({
  kind: 'status',
  status: code,
  ...more,
});
const put = (bytes: Uint8Array) => (registry: FaultRegistry) =>
  void registry.putManifest(repository, bytes, mediaTypes.ociManifest, ['v1']);

const cases: readonly Case[] = [
  { name: 'unknown host', host: 'registry.invalid', errno: 'EIO', exit: 5, says: /cannot be resolved|name server/, hint: /spelling|network/ },
  { name: 'refused connection', host: '127.0.0.1:1', errno: 'EIO', exit: 5, says: /connection refused/, hint: /registry runs/ },
  { name: 'TLS: expired', options: { tls: true, certificate: 'expired' }, trustCa: true, errno: 'EIO', exit: 5, says: /expired/, hint: /clock.*renew/ },
  { name: 'TLS: another name', options: { tls: true, certificate: 'wrongName' }, trustCa: true, errno: 'EIO', exit: 5, says: /not trusted.*altnames|does not match/i, hint: /name that the certificate is for/ },
  { name: 'TLS: unknown authority', options: { tls: true, certificate: 'untrusted' }, errno: 'EIO', exit: 5, says: /not trusted/, hint: /certs\.d/ },
  { name: '401', fault: status(401), errno: 'EACCES', exit: 4, says: /401|unauthorized/i, hint: /imgfs login/ },
  { name: '403', fault: status(403), errno: 'EACCES', exit: 4, says: /403|denied/i, hint: /log in|permission|access|right/i },
  { name: '404', fault: status(404), errno: 'ENOENT', exit: 3, says: /./ },
  { name: '405', fault: status(405), errno: 'ENOTSUP', exit: 1, says: /405/ },
  { name: '416', fault: status(416), path: blob, file: layer, errno: 'EIO', exit: 1, says: /416/ },
  { name: '429', fault: status(429, { retryAfter: 3600 }), errno: 'EBUSY', exit: 5, says: /429|pause|too many/i, hint: /wait|log/i },
  { name: '500', fault: status(500), errno: 'EIO', exit: 5, says: /500/ },
  { name: '503', fault: status(503), errno: 'EIO', exit: 5, says: /503/ },
  { name: '504', fault: status(504), errno: 'ETIMEDOUT', exit: 5, says: /504/ },
  { name: 'manifest: truncated', fault: { kind: 'truncate', atFraction: 0.5 }, path: manifest, errno: 'EIO', exit: 6, says: /does not match|digest|bytes/ },
  { name: 'manifest: not JSON', prepare: put(Buffer.from('{"schemaVersion":2,')), file: 'config.json', errno: 'EIO', exit: 1, says: /JSON/ },
  { name: 'manifest: oversized', prepare: put(bytesOf({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, annotations: { a: 'x'.repeat(9 << 20) } })), file: 'config.json', errno: 'EFBIG', exit: 1, says: /limit|large|cap/ },
  { name: 'manifest: mislabelled', prepare: put(bytesOf({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] })), file: 'config.json', errno: 'EIO', exit: 1, says: /it came as/ },
  { name: 'manifest: hostile', prepare: put(bytesOf({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: { mediaType: mediaTypes.ociConfig, digest: 'sha256:../../../etc/passwd', size: 1 }, layers: [] })), file: 'config.json', errno: 'EIO', exit: 1, says: /digest/ },
  { name: 'a digest that does not match', fault: { kind: 'flip', atFraction: 0.5 }, path: blob, file: layer, errno: 'EIO', exit: 6, says: /does not match/ },
]; // prettier-ignore

describe(
  'bad input through a mount and by the command',
  { skip: skipWithoutMount('native'), timeout: 240_000 },
  () => {
    let directory: string;
    let mountPoint: string;
    let imgfs: ImgfsCommand;
    let image: BuiltSingleImage;
    let good: FaultRegistry;
    const patience = ['--timeout', '3s', '--retry-times', '0'];

    before(async () => {
      directory = await makeTempDir('bad-input');
      mountPoint = join(directory, 'mnt');
      await mkdir(mountPoint);
      imgfs = imgfsIn(directory);
      image = await sampleImage({ payloadBytes: 300_000 });
      good = await startFaultRegistry();
      good.addImage(repository, image, 'v1');
      const { code, stderr } = await imgfs(['mount', mountPoint, ...patience]);
      assert.equal(code, 0, stderr);
    });

    after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await good.close();
      await removeTempDir(directory);
    });

    const lastError = async (): Promise<Record<string, string>> => {
      const lines = (await readFile(join(mountPoint, '.imgfs/errors.ndjson'), 'utf8')).trim().split('\n');
      return JSON.parse(lines.at(-1) ?? '{}') as Record<string, string>;
    };

    async function check(host: string, one: Case): Promise<void> {
      const file = one.file ?? 'manifest.json';
      const path = join(mountPoint, host, repository, 'v1', file);
      const failure = await readFile(path).then(
        () => undefined,
        (error: unknown) => error as NodeJS.ErrnoException,
      );
      const seen = await lastError();
      const reference = `${host}/${repository}:v1`;
      const words =
        one.file === undefined ? ['cat', `${reference}/manifest.json`] : ['cat', `${reference}/${file}`];
      const { code, stderr } = await imgfs([...words, ...patience]);
      if (process.env['SHOW'] !== undefined)
        console.error(
          `== ${one.name}\n   mount: ${failure?.code} ${JSON.stringify(seen)}\n   ${code}: ${stderr}`,
        );
      assert.equal(failure?.code, one.errno, `${one.name}: errno`);
      assert.equal(code, one.exit, `${one.name}: ${stderr}`);
      assert.match(stderr, one.says, one.name);
      assert.match(stderr, /next step: /, one.name);
      if (one.hint !== undefined) assert.match(stderr, one.hint, one.name);
      // Absence is an answer; everything else is written down with its cause.
      if (one.errno !== 'ENOENT') assert.match(JSON.stringify(seen), one.says, `${one.name}: errors.ndjson`);
    }

    for (const [index, one] of cases.entries()) {
      test(one.name, async (t) => {
        let host = one.host;
        if (host === undefined) {
          const registry = await startFaultRegistry(one.options ?? {});
          t.after(() => registry.close());
          // Content of its own: what the cache has by digest is not asked for.
          registry.addImage(repository, await sampleImage({ payloadBytes: 300_000 + index }), 'v1');
          if (one.trustCa === true) {
            const folder = join(imgfs.home, '.config/containers/certs.d', registry.host);
            await mkdir(folder, { recursive: true });
            await writeFile(join(folder, 'ca.crt'), registry.ca ?? '');
          }
          one.prepare?.(registry);
          if (one.fault !== undefined)
            registry.fault({ match: { path: one.path ?? manifest }, fault: one.fault });
          host = registry.host;
        }
        await check(host, one);
        // The rest of the mount goes on: something not read before each time.
        const title = ['manifest.json', 'config.json', 'digest', 'inspect.json'][index % 4] ?? '';
        await readFile(join(mountPoint, good.host, repository, 'v1', title));
      });
    }

    test('plain http where TLS is wanted, and the reverse', async (t) => {
      const plain = await startFaultRegistry();
      t.after(() => plain.close());
      plain.addImage(repository, image, 'v1');
      const strict = await imgfs([
        'cat',
        `${plain.host}/${repository}:v1/digest`,
        '--tls-verify=true',
        ...patience,
      ]);
      if (process.env['SHOW'] !== undefined)
        console.error(`== https to http: ${strict.code} ${strict.stderr}`);
      assert.equal(strict.code, 5, strict.stderr);
      assert.match(strict.stderr, /TLS/);
      assert.match(strict.stderr, /insecure|--tls-verify=false/);
      const tls = await startFaultRegistry({ tls: true });
      t.after(() => tls.close());
      const location = join(imgfs.home, '.config/containers/registries.conf');
      await mkdir(join(imgfs.home, '.config/containers'), { recursive: true });
      await writeFile(location, `[[registry]]\nlocation = "${tls.host}"\ninsecure = true\n`);
      const reverse = await imgfs(['cat', `${tls.host}/${repository}:v1/digest`, ...patience]);
      await rm(location);
      if (process.env['SHOW'] !== undefined)
        console.error(`== insecure, but TLS: ${reverse.code} ${reverse.stderr}`);
      assert.equal(reverse.code, 3, `TLS is spoken where it is there: ${reverse.stderr}`);
    });

    test('something else than a registry', async (t) => {
      const silent = createServer((socket) =>
        socket.on('error', () => undefined).on('data', () => socket.end('220 not http\r\n')),
      );
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      t.after(() => silent.close());
      const host = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
      await check(host, { name: 'no HTTP at all', errno: 'EIO', exit: 1, says: /HTTP/ });
    });
  },
);
