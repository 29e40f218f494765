/**
 * The library: stores, images, the cache, and the tree without a mount.
 *
 * ```ts
 * const { endpoints, credentials } = openRegistryConfig();
 * const stores = createStoreDirectory({ openRegistry: async (host) => openRegistryStore(host, { endpoints, credentials }) });
 * const content = await openContentCache({ directory: '/var/cache/images' });
 * const images = new Images({ content });
 * const image = await images.open(await stores.registry('docker.io'), { repository: 'library/alpine', tag: '3.20' });
 * console.log(await inspectImage(image));
 * ```
 */
export * from './errors/codes.js';
export * from './errors/errno.js';
export * from './errors/imgfs-error.js';
export * from './oci/descriptor.js';
export * from './oci/digest.js';
export * from './oci/image-config.js';
export * from './oci/manifest.js';
export * from './oci/match-platform.js';
export * from './oci/media-type.js';
export * from './oci/parse-manifest.js';
export * from './oci/platform.js';
export * from './oci/reference.js';
export * from './oci/select-manifest.js';
export * from './store/location.js';
export * from './store/offline-store.js';
export * from './store/open.js';
export * from './store/store.js';
export { openLayoutStore, type OpenLayoutOptions } from './store/layout/open-layout.js';
export { LayoutStore } from './store/layout/layout-store.js';
export {
  openRegistryConfig,
  type RegistryConfig,
  type RegistryConfigOptions,
} from './store/registry/config/registry-config.js';
export * from './store/registry/credential.js';
export * from './store/registry/endpoint.js';
export { defaultRegistryOptions, type RegistryOptions } from './store/registry/options.js';
export { openRegistryStore, RegistryStore, type RegistryStoreDeps } from './store/registry/registry-store.js';
export * from './content/content.js';
export { DiskCache, openContentCache, type CacheUsage, type DiskCacheOptions } from './content/disk.js';
export { Image, type ChosenManifest, type ImageLocation } from './image/image.js';
export { Images, type ImagesOptions } from './image/images.js';
export * from './image/inspect.js';
export {
  createStoreDirectory,
  type StoreDirectory,
  type StoreDirectoryOptions,
  type StoreFactory,
} from './image/stores.js';
export * from './vfs/file-system.js';
export { createFileSystem, type FileSystemOptions } from './vfs/create-file-system.js';
export * from './oci/name.js';
export { storeCapabilities, type StoreCapabilities } from './store/capabilities.js';
export type { CollectOptions, CollectResult } from './store/layout/collect-garbage.js';
export { allManifests, type FoundManifest } from './image/all-manifests.js';
export * from './image/history.js';
export { RepositoryUpload } from './image/library/blob-upload.js';
export { ImageDestination } from './image/library/image-destination.js';
export { ImageSource, type OpenLayer } from './image/library/image-source.js';
export type { LibraryOptions } from './image/library/library-context.js';
export { Registry } from './image/library/registry.js';
export {
  Repository,
  type OpenImageOptions,
  type RepositoryReferrersOptions,
} from './image/library/repository.js';
export { type FindReferrersOptions } from './image/filter-referrers.js';
export { RepositoryBlobs, type CreatedAt, type PutBlobOptions } from './image/library/repository-blobs.js';
export {
  RepositoryManifests,
  type DeleteManifestOptions,
  type GetManifestOptions,
  type GotManifest,
  type PutOptions,
} from './image/library/repository-manifests.js';
export { RepositoryTags, type NameListOptions } from './image/library/repository-tags.js';
export { TagReader, type NameSource } from './image/library/tag-reader.js';
export { RelatedFinder, cosignTag, type RelatedDocument, type RelatedKind } from './image/referrers.js';
export {
  ImageCache,
  type CacheCheck,
  type ImageCacheOptions,
  type LoadedImage,
  type PulledImage,
  type PullOptions,
} from './image/provider/image-cache.js';
export { pushImage, type PushOptions, type PushResult } from './image/copy/push-image.js';
export {
  copyImage,
  type CopyDestination,
  type CopyEvent,
  type CopyOptions,
  type CopyResult,
  type CopySource,
} from './image/copy/copy-image.js';
export { mergeIndex, type MergedIndex } from './image/merge-index.js';
export { archiveStream, type ExportedArchive, type ExportFormat } from './image/export/exported-archive.js';
export { attachArtifact, type ArtifactFile, type NewArtifact } from './image/attach-artifact.js';
export * from './image/signatures/image-signature.js';
export { cosignPayload, parseSignaturePayload, type SignaturePayload } from './image/signatures/payload.js';
export {
  parsePolicy,
  type Policy,
  type PolicyKeys,
  type PolicyRequirement,
  type PolicySubject,
  type SignedIdentity,
} from './image/signatures/policy.js';
export { Signatures, type NewSignature, type SignaturesDeps } from './image/signatures/signatures.js';
export { policyForAuthorities, policyForKeys, type Verdict } from './image/signatures/verify-image.js';
export { openRegistriesD, type LookasidePlace, type RegistriesD } from './store/lookaside/registries-d.js';
export { processEnvironment, type Environment } from './store/registry/config/environment.js';
export {
  gitPackageResolver,
  resolvePackages,
  type GitPackageOptions,
  type PackageResolver,
} from './image/package-resolver.js';
export { searchStore } from './image/search-store.js';
