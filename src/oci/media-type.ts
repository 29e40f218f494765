/**
 * Media types of manifests, configs and layers (image-spec media-types.md; Docker image manifest v2 schema 2).
 */

export const mediaTypes = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociEmpty: 'application/vnd.oci.empty.v1+json',
  ociArtifact: 'application/vnd.oci.artifact.manifest.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerForeignLayerGzip: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  dockerSchema1: 'application/vnd.docker.distribution.manifest.v1+json',
  dockerSchema1Signed: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
  octetStream: 'application/octet-stream',
} as const;

/** What kind of manifest a media type names; undefined for everything that is not a manifest. */
export type ManifestKind = 'image' | 'index' | 'artifact' | 'schema1';

/** What kind of manifest a media type names; undefined for everything else. */
export function manifestKind(mediaType: string): ManifestKind | undefined {
  switch (mediaType) {
    case mediaTypes.ociManifest:
    case mediaTypes.dockerManifest:
      return 'image';
    case mediaTypes.ociIndex:
    case mediaTypes.dockerList:
      return 'index';
    case mediaTypes.ociArtifact:
      return 'artifact';
    case mediaTypes.dockerSchema1:
    case mediaTypes.dockerSchema1Signed:
      return 'schema1';
    default:
      return undefined;
  }
}

/** What we ask for. Schema 1 is not among them: a server that has nothing else answers 404, which we explain. */
export const acceptedManifestTypes: readonly string[] = [
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
  mediaTypes.dockerManifest,
  mediaTypes.dockerList,
  mediaTypes.ociArtifact,
];

/** The bare type of a `Content-Type` header: parameters and case removed. */
export function baseMediaType(header: string): string {
  return (header.split(';', 1)[0] ?? '').trim().toLowerCase();
}

/** How a layer is compressed; `unknown`: its media type does not say. */
export type Compression = 'none' | 'gzip' | 'zstd' | 'unknown';

/** How a layer blob is compressed, by its media type; `unknown` means: look at the bytes. */
export function layerCompression(mediaType: string): Compression {
  if (/(\+|\.)gzip$/.test(mediaType)) return 'gzip';
  if (/(\+|\.)zstd$/.test(mediaType)) return 'zstd';
  if (mediaType.endsWith('.tar')) return 'none';
  return 'unknown';
}

/** True for a layer that holds a file-system tree, by its media type. */
export function isTreeLayer(mediaType: string): boolean {
  return (
    /^application\/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+(gzip|zstd))?$/.test(mediaType) ||
    /^application\/vnd\.docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.(gzip|zstd))?$/.test(mediaType)
  );
}

/** True for a layer whose bytes may live elsewhere (`urls` of its descriptor). */
export function isForeignLayer(mediaType: string): boolean {
  return mediaType.includes('.nondistributable.') || mediaType.includes('.foreign.');
}

/** File name suffix of a layer blob as it is stored: `.tar.gz`, `.tar.zst`, `.tar` or, unknown, `.blob`. */
export function layerSuffix(mediaType: string): string {
  if (mediaType.endsWith('+encrypted')) return '.enc';
  switch (layerCompression(mediaType)) {
    case 'gzip':
      return '.tar.gz';
    case 'zstd':
      return '.tar.zst';
    case 'none':
      return '.tar';
    case 'unknown':
      return mediaType.endsWith('+json') || mediaType === 'application/json' ? '.json' : '.blob';
  }
}
