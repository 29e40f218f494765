/** Small real images in memory: layers, config, manifest, indexes, artifacts, attestations; OCI or Docker types. */
import type { Descriptor } from '../../src/oci/descriptor.js';
import { digestOf, type Digest, type DigestAlgorithm } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import type { Platform } from '../../src/oci/platform.js';
import { createPrng } from './prng.js';
import { buildTar, compressLayer, type LayerCompression, type TarEntry } from './tar-builder.js';

export interface BuiltBlob {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

export interface BuiltImage {
  /** Of the manifest or index that a tag would name. */
  readonly descriptor: Descriptor;
  /** Configs and layers. */
  readonly blobs: readonly BuiltBlob[];
  /** Manifests, children before the index that names them; the last one is `descriptor`'s. */
  readonly manifests: readonly BuiltBlob[];
}

export interface BuiltLayer extends BuiltBlob {
  readonly tar: Uint8Array;
  readonly diffId: Digest;
}

export interface BuiltSingleImage extends BuiltImage {
  readonly config: BuiltBlob;
  readonly layers: readonly BuiltLayer[];
  readonly platform: Platform;
}

export interface LayerSpec {
  /** Entries, or a whole archive as it is. */
  readonly entries: readonly TarEntry[] | Uint8Array;
  /** Default gzip. */
  readonly compression?: LayerCompression;
  /** The archive as it is stored, where `compression` cannot make it. */
  readonly packed?: Uint8Array;
  readonly mediaType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ImageSpec {
  readonly layers: readonly LayerSpec[];
  /** Default linux/amd64. */
  readonly platform?: Platform;
  /** Docker schema 2 media types instead of OCI ones. */
  readonly docker?: boolean;
  /** The `config` object inside the config: Env, Cmd, Labels… */
  readonly runConfig?: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly subject?: Descriptor;
  readonly artifactType?: string;
  readonly algorithm?: DigestAlgorithm;
}

const created = '2023-11-14T22:13:20Z';

function built(bytes: Uint8Array, mediaType: string, algorithm: DigestAlgorithm = 'sha256'): BuiltBlob {
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes, algorithm), size: bytes.length } };
}

function builtJson(value: unknown, mediaType: string, algorithm?: DigestAlgorithm): BuiltBlob {
  return built(Buffer.from(JSON.stringify(value, null, 2)), mediaType, algorithm);
}

/** A descriptor as it stands in a manifest: dotted names, base64 data. */
export function descriptorJson(descriptor: Descriptor): Record<string, unknown> {
  const { platform, data, ...rest } = descriptor;
  return {
    ...rest,
    ...(data === undefined ? {} : { data: Buffer.from(data).toString('base64') }),
    ...(platform === undefined ? {} : { platform: platformJson(platform) }),
  };
}

function platformJson(platform: Platform): Record<string, unknown> {
  const { osVersion, osFeatures, ...rest } = platform;
  return {
    ...rest,
    ...(osVersion === undefined ? {} : { 'os.version': osVersion }),
    ...(osFeatures === undefined ? {} : { 'os.features': osFeatures }),
  };
}

const layerTypes: Readonly<Record<LayerCompression, { oci: string; docker: string }>> = {
  none: { oci: mediaTypes.ociLayer, docker: mediaTypes.dockerLayer },
  gzip: { oci: mediaTypes.ociLayerGzip, docker: mediaTypes.dockerLayerGzip },
  zstd: { oci: mediaTypes.ociLayerZstd, docker: `${mediaTypes.dockerLayer}.zstd` },
};

/** One layer. */
export async function buildLayer(
  spec: LayerSpec,
  options: { readonly docker?: boolean; readonly algorithm?: DigestAlgorithm } = {},
): Promise<BuiltLayer> {
  const compression = spec.compression ?? 'gzip';
  const tar = spec.entries instanceof Uint8Array ? spec.entries : await buildTar(spec.entries);
  const type = spec.mediaType ?? layerTypes[compression][options.docker === true ? 'docker' : 'oci'];
  const blob = built(spec.packed ?? (await compressLayer(tar, compression)), type, options.algorithm);
  const { annotations } = spec;
  const descriptor = { ...blob.descriptor, ...(annotations === undefined ? {} : { annotations }) };
  return { ...blob, descriptor, tar, diffId: digestOf(tar) };
}

/** One image for one platform. */
export async function buildImage(spec: ImageSpec): Promise<BuiltSingleImage> {
  const docker = spec.docker === true;
  const { algorithm } = spec;
  const platform = spec.platform ?? { os: 'linux', architecture: 'amd64' };
  const layers: BuiltLayer[] = [];
  for (const layer of spec.layers) {
    layers.push(await buildLayer(layer, { docker, ...(algorithm === undefined ? {} : { algorithm }) }));
  }
  const configJson = {
    created,
    ...platformJson(platform),
    config: spec.runConfig ?? { Env: ['PATH=/usr/bin:/bin'], Cmd: ['/bin/sh'] },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map((_, at) => ({ created, created_by: `test layer ${at}` })),
  };
  const config = builtJson(configJson, docker ? mediaTypes.dockerConfig : mediaTypes.ociConfig, algorithm);
  const mediaType = docker ? mediaTypes.dockerManifest : mediaTypes.ociManifest;
  const manifest = builtJson(
    {
      schemaVersion: 2,
      mediaType,
      ...(spec.artifactType === undefined ? {} : { artifactType: spec.artifactType }),
      config: descriptorJson(config.descriptor),
      layers: layers.map((layer) => descriptorJson(layer.descriptor)),
      ...(spec.subject === undefined ? {} : { subject: descriptorJson(spec.subject) }),
      ...(spec.annotations === undefined ? {} : { annotations: spec.annotations }),
    },
    mediaType,
    algorithm,
  );
  return {
    descriptor: manifest.descriptor,
    blobs: [config, ...layers],
    manifests: [manifest],
    config,
    layers,
    platform,
  };
}

export interface IndexOptions {
  readonly docker?: boolean;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Add a BuildKit attestation child (`unknown/unknown`) for each image, with this in-toto statement. */
  readonly attestation?: (image: BuiltSingleImage) => object;
}

/** An index over several images. */
export async function buildIndex(
  images: readonly BuiltSingleImage[],
  options: IndexOptions = {},
): Promise<BuiltImage> {
  const children: { image: BuiltImage; descriptor: Descriptor }[] = images.map((image) => ({
    image,
    descriptor: { ...image.descriptor, platform: image.platform },
  }));
  if (options.attestation !== undefined) {
    for (const image of images) children.push(buildAttestation(image, options.attestation(image)));
  }
  const mediaType = options.docker === true ? mediaTypes.dockerList : mediaTypes.ociIndex;
  const index = builtJson(
    {
      schemaVersion: 2,
      mediaType,
      manifests: children.map((child) => descriptorJson(child.descriptor)),
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
    },
    mediaType,
  );
  return {
    descriptor: index.descriptor,
    blobs: children.flatMap((child) => child.image.blobs),
    manifests: [...children.flatMap((child) => child.image.manifests), index],
  };
}

/** As BuildKit attaches provenance and SBOMs: a child of the index that points back by annotation. */
function buildAttestation(
  image: BuiltSingleImage,
  statement: object,
): { image: BuiltImage; descriptor: Descriptor } {
  const layer = builtJson(statement, 'application/vnd.in-toto+json');
  const config = builtJson(
    {
      architecture: 'unknown',
      os: 'unknown',
      config: {},
      rootfs: { type: 'layers', diff_ids: [layer.descriptor.digest] },
    },
    mediaTypes.ociConfig,
  );
  const predicate = (statement as { predicateType?: string }).predicateType ?? 'https://spdx.dev/Document';
  const manifest = builtJson(
    {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: descriptorJson(config.descriptor),
      layers: [
        descriptorJson({ ...layer.descriptor, annotations: { 'in-toto.io/predicate-type': predicate } }),
      ],
    },
    mediaTypes.ociManifest,
  );
  return {
    image: { descriptor: manifest.descriptor, blobs: [config, layer], manifests: [manifest] },
    descriptor: {
      ...manifest.descriptor,
      platform: { os: 'unknown', architecture: 'unknown' },
      annotations: {
        'vnd.docker.reference.digest': image.descriptor.digest,
        'vnd.docker.reference.type': 'attestation-manifest',
      },
    },
  };
}

export interface ArtifactSpec {
  readonly artifactType: string;
  readonly subject?: Descriptor;
  readonly files: readonly {
    readonly title: string;
    readonly content: string | Uint8Array;
    readonly mediaType?: string;
  }[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An artifact as `oras push` makes it: an image manifest with the empty config and titled layers. */
export function buildArtifact(spec: ArtifactSpec): BuiltImage {
  const config = built(Buffer.from('{}'), mediaTypes.ociEmpty);
  const layers = spec.files.map((file) => {
    const blob = built(Buffer.from(file.content), file.mediaType ?? mediaTypes.octetStream);
    const annotations = { 'org.opencontainers.image.title': file.title };
    return { ...blob, descriptor: { ...blob.descriptor, annotations } };
  });
  const manifest = builtJson(
    {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: spec.artifactType,
      config: descriptorJson(config.descriptor),
      layers: layers.map((layer) => descriptorJson(layer.descriptor)),
      ...(spec.subject === undefined ? {} : { subject: descriptorJson(spec.subject) }),
      ...(spec.annotations === undefined ? {} : { annotations: spec.annotations }),
    },
    mediaTypes.ociManifest,
  );
  const descriptor = { ...manifest.descriptor, artifactType: spec.artifactType };
  return { descriptor, blobs: [config, ...layers], manifests: [manifest] };
}

export interface SampleOptions {
  /** Different seeds give different images. Default 1. */
  readonly seed?: number;
  /** Incompressible bytes put into the second layer. Default 200,000. */
  readonly payloadBytes?: number;
  readonly platform?: Platform;
  readonly docker?: boolean;
  readonly compression?: LayerCompression;
}

/** An image with a bit of everything: directories, links, a whiteout, an opaque directory, a payload. */
export async function sampleImage(options: SampleOptions = {}): Promise<BuiltSingleImage> {
  const seed = options.seed ?? 1;
  const compression = options.compression ?? 'gzip';
  const payload = createPrng(seed).bytes(options.payloadBytes ?? 200_000);
  const base: TarEntry[] = [
    { name: 'bin/' },
    { name: 'bin/busybox', content: `#!/bin/false ${seed}\n`, mode: 0o755 },
    { name: 'bin/sh', linkname: 'busybox' },
    { name: 'etc/' },
    { name: 'etc/os-release', content: `ID=imgfs-test\nVERSION_ID=${seed}\n` },
    { name: 'etc/gone', content: 'removed by the next layer\n' },
    { name: 'var/' },
    { name: 'var/cache/' },
    { name: 'var/cache/old', content: 'hidden by an opaque directory\n' },
  ];
  const upper: TarEntry[] = [
    { name: 'etc/' },
    { name: 'etc/.wh.gone' },
    { name: 'var/cache/' },
    { name: 'var/cache/.wh..wh..opq' },
    { name: 'var/cache/new', content: 'fresh\n' },
    { name: 'usr/' },
    { name: 'usr/payload', content: payload },
    { name: 'usr/payload-again', type: 'link', linkname: 'usr/payload' },
  ];
  return buildImage({
    layers: [
      { entries: base, compression },
      { entries: upper, compression },
    ],
    runConfig: { Env: ['PATH=/bin'], Cmd: ['/bin/sh'], Labels: { seed: String(seed) } },
    ...(options.platform === undefined ? {} : { platform: options.platform }),
    ...(options.docker === undefined ? {} : { docker: options.docker }),
  });
}
