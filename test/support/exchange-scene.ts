/** Images for exchange with other tools, and a list of what came of them, to be mounted and compared at the end. */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { buildArtifact, buildImage, buildIndex, sampleImage, type BuiltImage } from './image-builder.js';
import { imgfsIn, type ImgfsCommand } from './imgfs-command.js';
import { writeLayout } from './layout-writer.js';
import { oddLayers } from './odd-layers.js';
import { rawTar } from './raw-tar.js';

/** For one run of a tool. */
export const tool = { timeoutMs: 120_000 };

/** What came of an image: where it lies, to be mounted and compared. */
export interface Outcome {
  readonly what: string;
  readonly image: string;
  readonly location: string;
  /** Of the image in that store. */
  readonly path: string;
}

/**
 * Tags of the images, and who refuses them. umoci 0.4 knows no zstd, no index and no types but those of OCI; skopeo writes
 * no zstd into a docker-archive.
 */
export const images = {
  gzip: { umoci: true, docker: true },
  zstd: { umoci: /mediatype: application.*zstd/, docker: false },
  odd: { umoci: true, docker: true },
  multi: { umoci: /ambiguous/, docker: true },
  schema2: { umoci: /not implemented: application.*docker/, docker: true },
  plain: { umoci: true, docker: true },
} as const;
export type ImageTag = keyof typeof images;
export const tags = Object.keys(images) as ImageTag[];
export const amd64 = ['--override-arch', 'amd64', '--override-os', 'linux'];

export class Scene {
  readonly directory: string;
  readonly imgfs: ImgfsCommand;
  readonly digests = new Map<string, string>();
  readonly outcomes: Outcome[] = [];
  readonly cleanups: (() => Promise<unknown>)[] = [];

  constructor(directory: string) {
    this.directory = directory;
    this.imgfs = imgfsIn(directory);
  }

  at(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  source(tag: string): string {
    return `oci:${this.at('layout')}:${tag}`;
  }

  async ok(...words: string[]): Promise<void> {
    const { code, stderr } = await this.imgfs(words, tool);
    assert.equal(code, 0, `imgfs ${words.join(' ')}: ${stderr}`);
  }

  async mount(name: string, stores: readonly string[]): Promise<string> {
    const path = this.at(name);
    await mkdir(path);
    await this.ok(
      'mount',
      path,
      '-o',
      'ro',
      '--platform',
      'linux/amd64',
      ...stores.flatMap((store) => ['--store', store]),
    );
    this.cleanups.push(async () => {
      if ((await findMount(path)) !== undefined) await unmountPath(path, { lazy: true });
    });
    return path;
  }

  /** Where an image is whose manifest was kept and whose name was not. */
  byDigest(tag: string): string {
    const [algorithm = '', hex = ''] = (this.digests.get(tag) ?? '').split(':');
    return join('@digests', algorithm, hex);
  }

  came(what: string, image: string, location: string, path: string): void {
    this.outcomes.push({ what, image, location, path });
  }
}

/** podman takes no layer with two entries of one name. */
const isDoubled = (part: Uint8Array): boolean => Buffer.from(part).includes('first');

export async function makeImages(scene: Scene): Promise<void> {
  const arm64 = await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64' } });
  const odd = await buildImage({
    layers: oddLayers.map((parts) => ({ entries: rawTar(...parts.filter((part) => !isDoubled(part))) })),
  });
  const made: Record<ImageTag, BuiltImage> = {
    gzip: await sampleImage(),
    zstd: await sampleImage({ seed: 3, compression: 'zstd' }),
    odd,
    multi: await buildIndex([await sampleImage({ seed: 4 }), arm64]),
    schema2: await sampleImage({ seed: 6, docker: true }),
    plain: await sampleImage({ seed: 7, compression: 'none' }),
  };
  const artifact = buildArtifact({
    artifactType: 'application/spdx+json',
    subject: made.gzip.descriptor,
    files: [
      { title: 'sbom.json', content: '{"spdxVersion":"SPDX-2.3"}', mediaType: 'application/spdx+json' },
    ],
  });
  scene.digests.set('artifact', artifact.descriptor.digest);
  for (const tag of tags) scene.digests.set(tag, made[tag].descriptor.digest);
  await writeLayout(scene.at('layout'), [
    ...tags.map((tag) => ({ image: made[tag], name: tag })),
    { image: artifact, name: 'artifact' },
  ]);
}
