/**
 * Manifests as a discriminated union (distribution's TODO "manifest as an interface").
 *
 * The bytes stay the truth: a parsed manifest is a view, never written back. `parse-manifest.ts` makes one.
 */
import type { Descriptor } from './descriptor.js';

/** A manifest with a config and layers (image-spec manifest.md). */
export interface ImageManifest {
  readonly kind: 'image';
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations: Readonly<Record<string, string>>;
}

/** A manifest that names others (image-spec image-index.md). */
export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations: Readonly<Record<string, string>>;
}

/** The OCI artifact manifest of image-spec 1.1-rc: no config, blobs instead of layers. Registries still hold some. */
export interface ArtifactManifest {
  readonly kind: 'artifact';
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly blobs: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Any manifest; `kind` tells which. */
export type Manifest = ImageManifest | ImageIndex | ArtifactManifest;

/** The blobs a manifest names, config first: what has to exist before it may be pushed. */
export function referencedBlobs(manifest: Manifest): readonly Descriptor[] {
  switch (manifest.kind) {
    case 'image':
      return [manifest.config, ...manifest.layers];
    case 'artifact':
      return manifest.blobs;
    case 'index':
      return [];
  }
}

/** Everything that a manifest names: its blobs, config first, or the children of an index. Its subject is not part of it. */
export function referencesOf(manifest: Manifest): readonly Descriptor[] {
  return manifest.kind === 'index' ? manifest.manifests : referencedBlobs(manifest);
}
