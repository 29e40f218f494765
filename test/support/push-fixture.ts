/** A tree that takes writes, over the fault registry and a real spool, and what must hold of a registry at any time. */
import assert from 'node:assert/strict';
import { createStoreDirectory } from '../../src/image/stores.js';
import type { Digest } from '../../src/oci/digest.js';
import { referencedBlobs } from '../../src/oci/manifest.js';
import { parseManifest } from '../../src/oci/parse-manifest.js';
import type { RegistryOptions } from '../../src/store/registry/options.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { createFileSystem, type FileSystemOptions } from '../../src/vfs/create-file-system.js';
import { ImageExports } from '../../src/vfs/export/image-exports.js';
import { ImageInside } from '../../src/vfs/inside/image-inside.js';
import { isWritable, type WritableFileSystem } from '../../src/vfs/file-system.js';
import type { WritingRules } from '../../src/vfs/writing/writing.js';
import type { FaultRegistry } from './fault-registry/index.js';
import { verbs, type Verbs } from './file-system-verbs.js';
import { walk, type Walker } from './file-system-walker.js';
import type { BuiltSingleImage } from './image-builder.js';
import { createMemoryContent, type MemoryContent } from './memory-content.js';
import { hastyOptions, openTestStore } from './registry-client.js';

export interface PushMount extends Verbs {
  readonly fileSystem: WritableFileSystem;
  readonly tree: Walker;
  /** As `imgfs umount`. */
  close(): Promise<void>;
}

export interface PushMountOptions {
  readonly client?: Partial<RegistryOptions>;
  readonly rules?: Partial<WritingRules>;
  /** With `rootfs/`, `layers/N/` and `export/`, and a control file. */
  readonly inside?: boolean;
}

/** Mount: whatever an earlier one left in `directory` is taken up. */
export function pushMount(
  server: { readonly host: string; readonly url: string },
  directory: string,
  { client = {}, rules = {}, inside = false }: PushMountOptions = {},
): PushMount {
  const store = openTestStore(server, { options: { ...hastyOptions, ...client } });
  const stores = createStoreDirectory({ openRegistry: async () => store });
  const content = createMemoryContent(directory);
  const fileSystem = createFileSystem({
    stores,
    content,
    ...(inside ? withInside(content) : {}),
    platform: { os: 'linux', architecture: 'amd64' },
    writing: { allowOverwrite: false, allowDelete: false, retryAfterMs: [30], ...rules },
  });
  assert.ok(isWritable(fileSystem));
  const tree = walk(fileSystem, 30_000);
  const close = async (): Promise<void> => {
    await fileSystem.close();
    await stores.close();
  };
  return { fileSystem, tree, close, ...verbs(fileSystem, tree) };
}

function withInside(content: MemoryContent): Partial<FileSystemOptions> {
  const inside = new ImageInside({ content, layers: new LayerStore({ cache: content }) });
  return {
    extensions: [inside, new ImageExports({ inside, content })],
    controlFiles: new Map([['status.json', async () => Buffer.from('{}\n')]]),
  };
}

/** The files of an image directory, in the order in which `cp -r` comes to them. */
export function imageFiles(image: BuiltSingleImage): readonly (readonly [string, Uint8Array])[] {
  const [manifest] = image.manifests;
  const [config, ...layers] = image.blobs;
  assert.ok(manifest && config);
  return [
    ['manifest.json', manifest.bytes],
    ['config.json', config.bytes],
    ...layers.map(({ bytes }, position) => [`layers/${position}.tar.gz`, bytes] as const),
  ];
}

/** No tag names an image of which a blob is missing. */
export function assertTagsWhole(registry: Pick<FaultRegistry, 'content'>, when: string): void {
  for (const [name, repository] of registry.content.repositories) {
    for (const [tag, digest] of repository.tags) {
      const manifest = repository.manifests.get(digest);
      assert.ok(manifest, `${when}: ${name}:${tag} names ${digest}, which is not there`);
      const parsed = parseManifest(manifest.bytes, manifest.mediaType);
      const wanted: readonly Digest[] =
        parsed.kind === 'index'
          ? parsed.manifests.map((child) => child.digest)
          : referencedBlobs(parsed).map((blob) => blob.digest);
      const has = (each: Digest): boolean =>
        parsed.kind === 'index' ? repository.manifests.has(each) : repository.blobs.has(each);
      for (const each of wanted) assert.ok(has(each), `${when}: ${name}:${tag} lacks ${each}`);
    }
  }
}

/** Wait until something holds. @throws when it does not within `timeoutMs`. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `${what}: not within ${timeoutMs} ms`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}
