/** `imgfs cache`: what is in the cache, whether it is sound, making room, and keeping images for good. */
import { exitCodes } from '../../errors/codes.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { DiskCache } from '../../content/disk.js';
import { matchesPlatform } from '../../oci/match-platform.js';
import { parsePlatform } from '../../oci/platform.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { formatBytes, formatTable, parseBytes } from '../output.js';
import { imageActions } from '../cache-images.js';
import { withImageCache } from '../image-cache.js';
import { createProgress } from '../progress.js';
import { withCache, withImage } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function list(content: DiskCache, args: Arguments, { out, signal }: CommandContext): Promise<void> {
  if (args['blobs'] === true) {
    for await (const { digest, status } of content.list()) {
      signal.throwIfAborted();
      if (out.json) out.document({ digest, ...status });
      else out.line(`${status.state.padEnd(8)} ${String(status.presentBytes).padStart(12)} ${digest}`);
    }
    return;
  }
  const usage = await content.usage({ wait: true, signal });
  const pins = await content.pins();
  if (out.json) return out.document({ directory: content.directory, ...usage, pins });
  out.line(`${content.directory}: ${formatBytes(usage.bytes)} of ${formatBytes(usage.maxBytes)}`);
  const kinds = Object.entries(usage.kinds).filter(([, { entries }]) => entries > 0);
  for (const line of formatTable(kinds.map(([kind, { entries, bytes }]) => [`  ${kind}`, String(entries), formatBytes(bytes)]))) out.line(line); // prettier-ignore
  if (pins.length > 0) out.line('pinned:');
  for (const pin of pins) out.line(`  ${pin.name}  ${pin.descriptor.digest}`);
}

async function prune(content: DiskCache, args: Arguments, { out }: CommandContext): Promise<void> {
  const text = args['to'];
  const maxBytes = typeof text === 'string' ? parseBytes(text) : 0;
  if (maxBytes === undefined) throw new ImgfsError('usage', `--to ${JSON.stringify(text)} is not a size`);
  const { entries, bytes } = await content.prune({ maxBytes });
  if (out.json) out.document({ entries, bytes });
  else out.line(`removed ${entries} entries, ${formatBytes(bytes)}`);
}

async function verify(content: DiskCache, args: Arguments, { out, signal }: CommandContext): Promise<number> {
  const progress = createProgress('verifying', out);
  const repair = args['repair'] === true;
  const report = await content
    .verify({
      signal,
      repair,
      onProgress: ({ blobs, bytes }) => progress.update(`${blobs} blobs, ${formatBytes(bytes)}`),
    })
    .finally(() => progress.done());
  if (out.json) {
    out.document(report);
  } else {
    for (const damaged of report.damaged) {
      const what = damaged.removed ? 'removed' : 'damaged';
      out.line(
        `${what} ${damaged.digest}: ${damaged.cause}${damaged.pinned ? ' (a pinned image needs it: pin it again)' : ''}`,
      );
    }
    for (const path of report.strangers) out.line(`not a blob: ${path}`);
    out.line(`${report.blobs} blobs, ${formatBytes(report.bytes)}, ${report.damaged.length} damaged`);
  }
  return report.damaged.length > 0 && !repair ? exitCodes.integrity : exitCodes.ok;
}

function imageName(args: Arguments): string {
  const name = args['image'];
  if (typeof name === 'string') return name;
  throw new ImgfsError('usage', `cache ${String(args['action'])} needs a reference`);
}

async function pin(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const platform = typeof args['platform'] === 'string' ? parsePlatform(args['platform']) : undefined;
  await withImage(imageName(args), args, context, async (image, content) => {
    const progress = createProgress(`pinning ${image.reference}`, out);
    await content
      .pin(image.source(image.descriptor), {
        name: image.reference,
        signal,
        onProgress: ({ done, total }) => progress.update(`${done} of ${total} blobs`),
        ...(platform === undefined
          ? {}
          : {
              include: (child) => child.platform !== undefined && matchesPlatform(platform, child.platform),
            }),
      })
      .finally(() => progress.done());
    if (out.json) out.document({ pinned: image.reference, digest: image.descriptor.digest });
    else out.line(`pinned ${image.reference} (${image.descriptor.digest})`);
  });
}

async function unpin(content: DiskCache, args: Arguments, { out }: CommandContext): Promise<void> {
  const name = imageName(args);
  const { parseReference, formatReference, withDefaultTag } = await import('../../oci/reference.js');
  const full = /^[a-z0-9]+:[0-9a-f]{64,}$/.test(name)
    ? name
    : formatReference(withDefaultTag(parseReference(name)));
  const removed = (await content.unpin(name)) + (full === name ? 0 : await content.unpin(full));
  if (removed === 0)
    throw new ImgfsError('not-found', `nothing is pinned as ${name}`, {
      hint: 'imgfs cache ls shows the pins',
    });
  if (out.json) out.document({ unpinned: name, removed });
  else out.line(`unpinned ${name}`);
}

async function run(args: Arguments, context: CommandContext): Promise<number | void> {
  const action = String(args['action']);
  if (action === 'pin') return pin(args, context);
  const onImages = imageActions.get(action);
  if (onImages !== undefined) {
    let code: number | void = undefined;
    await withImageCache(args, async (cache) => {
      code = await onImages(cache, args, context);
    });
    return code;
  }
  let exit: number | void = undefined;
  await withCache(args, async (content) => {
    switch (action) {
      case 'ls':
        return list(content, args, context);
      case 'prune':
        return prune(content, args, context);
      case 'verify':
        exit = await verify(content, args, context);
        return;
      case 'unpin':
        return unpin(content, args, context);
      default:
        throw new ImgfsError('usage', `cache cannot ${JSON.stringify(action)}`, {
          hint: `known: ${actions.join(', ')}`,
        });
    }
  });
  return exit;
}

const actions = ['ls', 'prune', 'verify', 'pin', 'unpin', ...imageActions.keys()];

export const cacheCommand: Command = {
  usage: 'cache <action> [image] [more..]',
  examples: [
    ['imgfs cache ls', 'how full it is, and what is pinned'],
    ['imgfs cache ls --blobs', 'each blob, whole or in part'],
    ['imgfs cache prune --to 1GiB', 'remove what was used longest ago'],
    ['imgfs cache verify --repair', 'hash everything again, drop what is damaged'],
    ['imgfs cache pin alpine:3.20', 'fetch whole, and never evict'],
    ['imgfs cache check alpine:3.20', 'is it there whole? exit code 3 when not'],
    [
      'imgfs cache index me/app:v1 me/app:v1-amd64 linux/arm64=me/app:v1-arm64',
      'one name for several platforms',
    ],
    ['docker save app:v1 | imgfs cache load -', 'take the images of an archive'],
    ['imgfs cache push me/app:v1 --arch-tags', 'platforms that are there stay'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', {
        choices: actions,
        demandOption: true,
        describe: 'what to do',
      })
      .positional('image', { type: 'string', describe: 'reference; a digest for get, a file for load' })
      .positional('more', {
        type: 'string',
        array: true,
        describe: 'names for tag, push and load, images for index',
      })
      .option('arch-tags', {
        type: 'boolean',
        default: false,
        describe: 'push: each platform as <tag>-<arch> too',
      })
      .option('override', {
        type: 'boolean',
        default: false,
        describe: 'push: replace the tag instead of merging platforms',
      })
      .option('blobs', { type: 'boolean', default: false, describe: 'ls: each blob' })
      .option('to', { type: 'string', requiresArg: true, describe: 'prune: keep at most so many bytes' })
      .option('repair', { type: 'boolean', default: false, describe: 'verify: drop what is damaged' }),
  run,
};
