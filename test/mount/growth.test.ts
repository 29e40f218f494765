/**
 * Much more is read than the cache holds: memory, descriptors and the cache's bytes stay where they were.
 * `IMGFS_TEST_READ_MIB=10240` reads 10 GiB.
 */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { drain } from '../support/drain.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { descriptorJson } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { skipWithoutMount } from '../support/mounted.js';
import { digestOfContent, patternedContent } from '../support/patterned-blob.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const mebibyte = 2 ** 20;
const readBytes = Number(process.env['IMGFS_TEST_READ_MIB'] ?? 320) * mebibyte;
const blobs = 10;
/** Two blobs and a half. */
const cacheBytes = Math.floor((readBytes / blobs) * 2.5);
/** What V8 and malloc may keep of a peak; 10 GiB of leaked chunks, or a tenth of them, would be far above. */
const slackMebibytes = 24;

test(
  'reading more than the cache holds leaves memory, descriptors and cache as they were',
  { skip: skipWithoutMount('native'), timeout: 20 * 60_000 },
  async (t) => {
    const directory = await makeTempDir('growth');
    const mountPoint = join(directory, 'mnt');
    const registry = await startFaultRegistry();
    t.after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await registry.close();
      await removeTempDir(directory);
    });
    const config = registry.putBlob(
      'g/app',
      Buffer.from('{"architecture":"amd64","os":"linux"}'),
      mediaTypes.ociConfig,
    );
    const layers = Array.from({ length: blobs }, (_, index) => {
      const content = patternedContent(readBytes / blobs, index + 1);
      const digest = digestOfContent(content);
      registry.putContent('g/app', digest, content);
      return { mediaType: mediaTypes.ociLayer, digest, size: content.size };
    });
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: descriptorJson(config),
      layers,
    };
    const bytes = Buffer.from(JSON.stringify(manifest));
    registry.putManifest('g/app', bytes, mediaTypes.ociManifest, ['v1']);
    await mkdir(mountPoint);
    const imgfs = imgfsIn(directory);
    const { code, stderr } = await imgfs(['mount', mountPoint, '--cache-size', String(cacheBytes)]);
    assert.equal(code, 0, stderr);
    const read = async <T>(name: string): Promise<T> => {
      const text = await readFile(join(mountPoint, '.imgfs', name), 'utf8');
      try {
        return JSON.parse(text) as T;
      } catch (cause) {
        throw new Error(`${name}: ${text}`, { cause });
      }
    };
    const { pid } = await read<{ pid: number }>('status.json');
    const samples: { residentMebibytes: number; descriptors: number; cacheBytes: number }[] = [];
    for (const index of layers.keys()) {
      assert.equal(
        await drain(join(mountPoint, registry.host, 'g/app/v1/layers', `${index}.tar`)),
        readBytes / blobs,
      );
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      samples.push({
        residentMebibytes: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024,
        descriptors: (await readdir(`/proc/${pid}/fd`)).length,
        cacheBytes: (await read<{ bytes: number }>('cache.json')).bytes,
      });
    }
    t.diagnostic(
      samples.map((s) => `${s.residentMebibytes.toFixed(0)} MiB, ${s.descriptors} fds`).join('; '),
    );
    // Blobs just read are kept at hand for seconds, with a descriptor or two each: the first three show that.
    const settled = samples.slice(0, 3);
    for (const sample of samples.slice(3)) {
      const before = Math.max(...settled.map(({ residentMebibytes }) => residentMebibytes));
      assert.ok(sample.residentMebibytes <= before + slackMebibytes, JSON.stringify(samples));
      const descriptors = Math.max(...settled.map((one) => one.descriptors));
      assert.ok(sample.descriptors <= descriptors + 2 * blobs, JSON.stringify(samples));
    }
    for (const sample of samples) assert.ok(sample.cacheBytes <= cacheBytes, JSON.stringify(samples));
  },
);
