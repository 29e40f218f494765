/** `imgfs cp --all-tags`: a whole repository, tag by tag; what two tags share is there for the second. */
import { copyImage } from '../image/copy/copy-image.js';
import { ImgfsError } from '../errors/imgfs-error.js';
import { locationTarget, parseLocation } from '../store/location.js';
import { isTagLister, type ImageStore } from '../store/store.js';
import type { PushStore } from '../image/push-store.js';
import type { Arguments, CommandContext } from './command.js';
import { copyProgress, copySummary } from './copy-progress.js';
import { openDestination } from './destination.js';
import { openStores } from './registries.js';
import { withStore } from './runtime.js';
import { settingsFrom } from './settings.js';

/** @throws ImgfsError `usage` for an argument that names one image. */
function assertNoTag(text: string): void {
  const location = parseLocation(text);
  const { tag, digest } =
    location.transport === 'docker' ? location.reference : (locationTarget(location) ?? { repository: '' });
  if (tag === undefined && digest === undefined) return;
  throw new ImgfsError('usage', `cp --all-tags: ${text} names one image`, {
    hint: 'write the repository without a tag',
  });
}

interface Side<Store> {
  readonly store: Store;
  readonly repository: string;
}

async function copyTags(
  from: Side<ImageStore>,
  to: Side<PushStore>,
  args: Arguments,
  { out, signal }: CommandContext,
): Promise<void> {
  const { store, repository } = from;
  if (!isTagLister(store)) throw new ImgfsError('unsupported', `${store.id} does not list tags`);
  for await (const tag of store.tags(repository, { signal })) {
    const { descriptor } = await store.resolve({ repository, tag }, { signal });
    const progress = copyProgress(`copying ${tag}`, out);
    const result = await copyImage({ store, repository, descriptor }, to, {
      signal,
      tags: [tag],
      referrers: args['referrers'] === true,
      parallel: Number(args['parallel']),
      onEvent: progress.onEvent,
    }).finally(() => progress.done());
    if (out.json)
      out.document({ tag, ...result.descriptor, blobs: result.blobs, sentBytes: result.sentBytes });
    else out.line(`${tag} ${result.descriptor.digest}`);
    out.note(`copied ${tag}: ${copySummary(result)}`);
  }
}

/** @throws ImgfsError `usage`, `unsupported`, and what either store throws. */
export async function copyAllTags(args: Arguments, context: CommandContext): Promise<void> {
  const [from, to] = [String(args['source']), String(args['destination'])];
  assertNoTag(from);
  assertNoTag(to);
  const stores = openStores(settingsFrom(args), []);
  const destination = await openDestination(to, stores);
  try {
    if (!('store' in destination))
      throw new ImgfsError('usage', `cp --all-tags: ${to} takes single images`, {
        hint: 'copy to a registry, or to oci:',
      });
    const { store, target } = destination;
    await withStore(from, args, context, (source, { repository }) =>
      copyTags({ store: source, repository }, { store, repository: target.repository }, args, context),
    );
  } finally {
    await destination.close();
    await stores.close();
  }
}
