/**
 * The composition root: stores, cache, images and the file system, put together from settings. Verbs use the
 * `with…` functions, which close everything again.
 */
import type { DiskCache } from '../content/disk.js';
import type { Image } from '../image/image.js';
import { Images } from '../image/images.js';
import type { StoreDirectory } from '../image/stores.js';
import type { LayerStore } from '../layer/layer-store.js';
import { parsePlatform } from '../oci/platform.js';
import { isRegistryHost, normalizeRegistry, withDefaultTag } from '../oci/reference.js';
import { formatLocation, locationTarget, parseLocation, wholeStore } from '../store/location.js';
import type { ImageStore, Target } from '../store/store.js';
import type { FileSystem } from '../vfs/file-system.js';
import type { FileSystemOptions } from '../vfs/create-file-system.js';
import type { Arguments, CommandContext } from './command.js';
import { openStores, type LocalStore } from './registries.js';
import { settingsFrom, type Settings } from './settings.js';
import { argumentStoreName, parseTreePath } from './tree-path.js';
import { TreeWalker } from './tree-walker.js';

export interface Runtime {
  readonly settings: Settings;
  readonly stores: StoreDirectory;
  readonly content: DiskCache;
  close(): Promise<void>;
}

/** Open what settings ask for. Costs no request; the cache is opened, its index is read in the background. */
export async function openRuntime(settings: Settings, locals: readonly LocalStore[]): Promise<Runtime> {
  const { openContentCache } = await import('../content/disk.js');
  const content = await openContentCache({
    directory: settings.cacheDirectory,
    maxBytes: settings.cacheBytes,
    verify: settings.verify === 'strict' ? 'strict' : 'default',
  });
  const stores = openStores(settings, locals);
  return {
    settings,
    stores,
    content,
    close: async () => {
      await stores.close();
      await content.close();
    },
  };
}

function platformOption(settings: Settings): Pick<FileSystemOptions, 'platform'> {
  return settings.platform === undefined ? {} : { platform: parsePlatform(settings.platform) };
}

/** The layers in a runtime's cache. Close them before the runtime. */
export async function openLayers({ settings, content }: Runtime): Promise<LayerStore> {
  const { LayerStore } = await import('../layer/layer-store.js');
  return new LayerStore({ cache: content, deferred: settings.verify === 'deferred' });
}

/** The tree over a runtime's stores. */
export async function openTree(
  runtime: Runtime,
  extra: Partial<FileSystemOptions> = {},
): Promise<FileSystem> {
  const { createFileSystem } = await import('../vfs/create-file-system.js');
  const { openRegistriesD } = await import('../store/lookaside/registries-d.js');
  const { processEnvironment } = await import('../store/registry/config/environment.js');
  const { ImageExports } = await import('../vfs/export/image-exports.js');
  const { ImageInside } = await import('../vfs/inside/image-inside.js');
  const { settings, stores, content } = runtime;
  const layers = await openLayers(runtime);
  const presentation = { owner: settings.owner, symlinks: settings.symlinks, allXattrs: settings.allXattrs };
  const inside = new ImageInside({ layers, content, presentation });
  return createFileSystem({
    stores,
    content,
    extensions: [inside, new ImageExports({ inside, content })],
    tagTtlMs: settings.tagTtlMs,
    registriesD: openRegistriesD(processEnvironment()),
    ...platformOption(settings),
    ...extra,
  });
}

async function using<Resource extends { close(): Promise<void> }>(
  resource: Resource,
  work: (resource: Resource) => Promise<void>,
): Promise<void> {
  try {
    await work(resource);
  } finally {
    await resource.close();
  }
}

/** Run `work` on the cache alone. */
export async function withCache(args: Arguments, work: (content: DiskCache) => Promise<void>): Promise<void> {
  await using(await openRuntime(settingsFrom(args), []), ({ content }) => work(content));
}

/** Run `work` on the tree that a path argument belongs to, with the path's components. */
export async function withTree(
  text: string,
  args: Arguments,
  context: CommandContext,
  work: (walker: TreeWalker, components: readonly string[]) => Promise<void>,
): Promise<void> {
  const { components, store } = parseTreePath(text);
  const locals = store === undefined ? [] : [{ name: argumentStoreName, location: store.location }];
  await using(await openRuntime(settingsFrom(args), locals), async (runtime) => {
    await using(await openTree(runtime), (tree) => work(new TreeWalker(tree, context.signal), components));
  });
}

interface ImageArgument {
  readonly open: (stores: StoreDirectory) => Promise<ImageStore>;
  readonly locals: readonly LocalStore[];
  readonly target: Target;
}

/** Store and name in an argument; a registry host alone is a store without a name. `name` is a local store's own. */
function imageArgument(text: string, name = argumentStoreName): ImageArgument {
  if (isRegistryHost(text)) {
    const host = normalizeRegistry(text);
    return { open: (stores) => stores.registry(host), locals: [], target: { repository: '' } };
  }
  const location = parseLocation(text);
  if (location.transport === 'docker') {
    const { registry, ...target } = withDefaultTag(location.reference);
    return { open: (stores) => stores.registry(registry), locals: [], target };
  }
  return {
    open: (stores) => stores.local(name),
    locals: [{ name, location: formatLocation(wholeStore(location)) }],
    target: locationTarget(location) ?? { repository: '' },
  };
}

/** Run `work` on the store that an argument names. */
export async function withStore(
  text: string,
  args: Arguments,
  _context: CommandContext,
  work: (store: ImageStore, target: Target) => Promise<void>,
): Promise<void> {
  const argument = imageArgument(text);
  await using(await openRuntime(settingsFrom(args), argument.locals), async ({ stores }) => {
    await work(await argument.open(stores), argument.target);
  });
}

/** The only image of a local store needs no name: position 0 stands for it. */
function withAnyName(target: Target): Target {
  return target.tag === undefined && target.digest === undefined ? { ...target, tag: '@0' } : target;
}

/** Run `work` on the images that arguments name. */
export async function withImages(
  texts: readonly string[],
  args: Arguments,
  context: CommandContext,
  work: (images: readonly Image[], runtime: Runtime) => Promise<void>,
): Promise<void> {
  const named = texts.map((text, index) => imageArgument(text, `${argumentStoreName}${index}`));
  const settings = settingsFrom(args);
  const locals = named.flatMap((argument) => argument.locals);
  await using(await openRuntime(settings, locals), async (runtime) => {
    const { stores, content } = runtime;
    const images = new Images({ content, tagTtlMs: settings.tagTtlMs, ...platformOption(settings) });
    const found: Image[] = [];
    for (const argument of named) {
      const target = argument.locals.length === 0 ? argument.target : withAnyName(argument.target);
      found.push(await images.open(await argument.open(stores), target, { signal: context.signal }));
    }
    await work(found, runtime);
  });
}

/** Run `work` on the image that an argument names. */
export async function withImage(
  text: string,
  args: Arguments,
  context: CommandContext,
  work: (image: Image, content: DiskCache) => Promise<void>,
): Promise<void> {
  await withImages([text], args, context, async ([image], { content }) => {
    if (image !== undefined) await work(image, content);
  });
}
