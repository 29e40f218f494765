/** Actions of `imgfs cache` on images by name: what linuxkit's cache provider does. */
import { exitCodes } from '../errors/codes.js';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { ImageCache } from '../image/provider/image-cache.js';
import type { Descriptor } from '../oci/descriptor.js';
import { parseDigest } from '../oci/digest.js';
import { parsePlatform } from '../oci/platform.js';
import type { Arguments, CommandContext } from './command.js';
import { assertRegistryName } from './image-cache.js';
import { listOf } from './list-of.js';
import { readInput } from './read-input.js';

type Action = (cache: ImageCache, args: Arguments, context: CommandContext) => Promise<number | void>;

function needed(args: Arguments, what: string): string {
  const value = args['image'];
  if (typeof value === 'string') return value;
  throw new ImgfsError('usage', `cache ${String(args['action'])} needs ${what}`);
}

const more = (args: Arguments): string[] => listOf(args['more']);

async function known(cache: ImageCache, reference: string): Promise<Descriptor> {
  const descriptor = await cache.findDescriptor(reference);
  if (descriptor !== undefined) return descriptor;
  throw new ImgfsError('not-found', `${reference}: not in the cache`, {
    hint: 'imgfs cache ls shows what is there',
  });
}

async function find(cache: ImageCache, args: Arguments, { out }: CommandContext): Promise<void> {
  const descriptor = await known(cache, assertRegistryName(needed(args, 'a reference')));
  if (out.json) out.document(descriptor);
  else out.line(`${descriptor.digest} ${descriptor.size} ${descriptor.mediaType}`);
}

async function check(cache: ImageCache, args: Arguments, { out }: CommandContext): Promise<number> {
  const reference = assertRegistryName(needed(args, 'a reference'));
  const platform = args['platform'];
  const { complete, descriptor, missing } = await cache.imageInCache(
    reference,
    ...(typeof platform === 'string' ? [parsePlatform(platform)] : []),
  );
  if (out.json)
    out.document({
      reference,
      complete,
      ...(descriptor === undefined ? {} : { digest: descriptor.digest }),
      missing,
    });
  else if (complete) out.line(`complete ${descriptor?.digest ?? ''}`);
  else if (descriptor === undefined) out.line('not in the cache');
  else for (const { digest, size } of missing) out.line(`missing ${digest} ${size}`);
  return complete ? exitCodes.ok : exitCodes.notFound;
}

async function get(cache: ImageCache, args: Arguments, { out, signal }: CommandContext): Promise<void> {
  const reader = await cache.getContent(parseDigest(needed(args, 'a digest')));
  try {
    const buffer = Buffer.allocUnsafe(Math.min(reader.size, 1024 * 1024) || 1);
    for (let at = 0; at < reader.size;) {
      const length = await reader.read(buffer, 0, buffer.length, at, { signal });
      if (length === 0) break;
      // The pipe may still hold the buffer when `bytes` resolves.
      await out.bytes(Uint8Array.from(buffer.subarray(0, length)));
      at += length;
    }
  } finally {
    await reader.close();
  }
}

async function tag(cache: ImageCache, args: Arguments, { out }: CommandContext): Promise<void> {
  const from = assertRegistryName(needed(args, 'an image'));
  const names = more(args).map(assertRegistryName);
  if (names.length === 0) throw new ImgfsError('usage', 'cache tag needs an image and a new name');
  const descriptor = await known(cache, from);
  for (const name of names) {
    await cache.descriptorWrite(name, descriptor);
    if (out.json) out.document({ name, digest: descriptor.digest });
    else out.line(`${name} ${descriptor.digest}`);
  }
}

async function index(cache: ImageCache, args: Arguments, { out }: CommandContext): Promise<void> {
  const name = assertRegistryName(needed(args, 'a name for the index'));
  const children: Descriptor[] = [];
  for (const text of more(args)) {
    // `linux/arm64=image`: the platform, where neither the image nor the index it came from tells.
    const equals = text.indexOf('=');
    const reference = assertRegistryName(text.slice(equals + 1));
    const descriptor = await known(cache, reference);
    const source = await cache.newSource(reference);
    const platform = equals > 0 ? parsePlatform(text.slice(0, equals)) : (await source.config())?.platform;
    const { annotations: _names, ...bare } = descriptor;
    children.push(platform === undefined ? bare : { ...bare, platform });
  }
  const written = await cache.indexWrite(name, ...children);
  if (out.json) out.document({ name, ...written });
  else out.line(written.digest);
}

async function load(cache: ImageCache, args: Arguments, { out, signal }: CommandContext): Promise<void> {
  const path = needed(args, 'a file, or - for stdin');
  const [name] = more(args);
  const loaded = await cache.imageLoad(readInput(path), { signal, ...(name === undefined ? {} : { name }) });
  for (const { name: each, descriptor } of loaded) {
    if (out.json) out.document({ name: each, ...descriptor });
    else out.line(`${each} ${descriptor.digest}`);
  }
}

async function push(cache: ImageCache, args: Arguments, { out, signal }: CommandContext): Promise<void> {
  const reference = assertRegistryName(needed(args, 'a reference'));
  const [remote] = more(args).map(assertRegistryName);
  const { descriptor, outcome, tags } = await cache.push(reference, {
    signal,
    archTags: args['arch-tags'] === true,
    override: args['override'] === true,
    ...(remote === undefined ? {} : { remote }),
  });
  if (out.json) out.document({ reference, outcome, tags, ...descriptor });
  else out.line(`${outcome} ${descriptor.digest} ${tags.join(' ')}`.trimEnd());
}

/** What `imgfs cache` does with images, by action. */
export const imageActions: ReadonlyMap<string, Action> = new Map<string, Action>([
  ['find', find],
  ['check', check],
  ['get', get],
  ['tag', tag],
  ['index', index],
  ['load', load],
  ['push', push],
]);
