/** What `skopeo inspect` prints, in its names and order, and what it leaves out: sizes and both digests. */
import type { CallOptions } from '../store/store.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Image } from './image.js';

/** One layer: skopeo's `LayersData`, and the digest of the layer uncompressed. */
export interface InspectedLayer {
  readonly MIMEType: string;
  readonly Digest: string;
  /** Bytes as stored. */
  readonly Size: number;
  readonly Annotations: Readonly<Record<string, string>> | null;
  /** Digest of the layer uncompressed; absent for artifacts. */
  readonly DiffID?: string;
}

/** Field names are skopeo's; those behind `Env` are ours. */
export interface Inspection {
  readonly Name?: string;
  /** The tag that it was found by, if any. */
  readonly Tag?: string;
  /** Digest of what the name stands for: of the index, when it is one. */
  readonly Digest: string;
  /** Only when asked for: listing tags can take longer than all the rest. */
  readonly RepoTags?: readonly string[];
  readonly Created: string | null;
  readonly DockerVersion: string;
  readonly Labels: Readonly<Record<string, string>> | null;
  readonly Architecture: string;
  readonly Os: string;
  readonly Layers: readonly string[] | null;
  readonly LayersData: readonly InspectedLayer[] | null;
  readonly Env: readonly string[] | null;
  readonly Variant?: string;
  readonly Author?: string;
  readonly MediaType: string;
  readonly ArtifactType?: string;
  /** Digest of the image manifest: differs from `Digest` when that names an index. */
  readonly ManifestDigest: string;
  readonly ConfigDigest?: string;
  /** Bytes of all layers as stored. */
  readonly Size: number;
}

/** What an inspection takes along. */
export interface InspectOptions extends CallOptions {
  readonly repoTags?: readonly string[];
}

/** Inspect an image: reads manifest and config, no layer. @throws ImgfsError as `Image.config`. */
export async function inspectImage(image: Image, options: InspectOptions = {}): Promise<Inspection> {
  const { descriptor, manifest } = await image.chosen(options);
  const config = await image.config(options);
  const blobs = manifest.kind === 'image' ? manifest.layers : manifest.blobs;
  const layers = blobs.map((layer, index) => inspectLayer(layer, config?.diffIds[index]));
  const artifactType =
    manifest.artifactType ??
    (manifest.kind === 'image' && config === undefined ? manifest.config.mediaType : undefined);
  return {
    ...(image.store.transport === 'docker' ? { Name: `${image.host}/${image.repository}` } : {}),
    ...(image.tag === undefined ? {} : { Tag: image.tag }),
    Digest: image.descriptor.digest,
    ...(options.repoTags === undefined ? {} : { RepoTags: options.repoTags }),
    Created: config?.created ?? manifest.annotations['org.opencontainers.image.created'] ?? null,
    DockerVersion: config?.dockerVersion ?? '',
    Labels: nullIfEmpty(config?.config.labels),
    Architecture: config?.platform?.architecture ?? '',
    Os: config?.platform?.os ?? '',
    Layers: layers.length === 0 ? null : layers.map((layer) => layer.Digest),
    LayersData: layers.length === 0 ? null : layers,
    Env: config === undefined || config.config.env.length === 0 ? null : config.config.env,
    ...(config?.platform?.variant === undefined ? {} : { Variant: config.platform.variant }),
    ...(config?.author === undefined ? {} : { Author: config.author }),
    MediaType: image.descriptor.mediaType,
    ...(artifactType === undefined ? {} : { ArtifactType: artifactType }),
    ManifestDigest: descriptor.digest,
    ...(manifest.kind === 'image' ? { ConfigDigest: manifest.config.digest } : {}),
    Size: blobs.reduce((sum, layer) => sum + layer.size, 0),
  };
}

/** As it stands in `inspect.json`: four spaces, as skopeo indents. */
export function renderInspection(inspection: Inspection): string {
  return `${JSON.stringify(inspection, undefined, 4)}\n`;
}

function inspectLayer(layer: Descriptor, diffId: string | undefined): InspectedLayer {
  return {
    MIMEType: layer.mediaType,
    Digest: layer.digest,
    Size: layer.size,
    Annotations: nullIfEmpty(layer.annotations),
    ...(diffId === undefined ? {} : { DiffID: diffId }),
  };
}

function nullIfEmpty(map: Readonly<Record<string, string>> | undefined) {
  return map === undefined || Object.keys(map).length === 0 ? null : map;
}
