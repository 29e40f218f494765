/** `imgfs upload`: uploads that were cut off: list them, go on with them, give them up. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { StoreDirectory } from '../../image/stores.js';
import { imageForTag, loadImage, openImageArchive } from '../../image/archive/load-archive.js';
import type { CopyDestination } from '../../image/copy/copy-image.js';
import { pushManifest } from '../../image/push-manifest.js';
import type { OwnedUpload } from '../../image/upload/spool.js';
import type { SpoolState } from '../../image/upload/spool-state.js';
import { assertPusher, Uploads } from '../../image/upload/uploads.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { ImageStore } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { formatBytes, formatTable } from '../output.js';
import { openLocalStore, openStores } from '../registries.js';
import { settingsFrom, storeOptions } from '../settings.js';

async function list(uploads: Uploads, { out }: CommandContext): Promise<void> {
  const all = await uploads.spool.list();
  if (out.json) {
    for (const { state, owned, size } of all) {
      const { resumeToken: _token, ...shown } = state;
      out.document({
        ...shown,
        startedAt: new Date(state.startedAt).toISOString(),
        active: owned,
        sizeBytes: size,
      });
    }
    return;
  }
  const rows = all.map(({ state, owned, size }) => [
    state.id,
    owned ? 'active' : state.manifest === undefined ? state.phase : 'waiting',
    formatBytes(size),
    `${state.storeId}/${state.repository}`,
    state.name,
  ]);
  for (const line of formatTable(rows, new Set([2]))) out.line(line);
}

/** One upload by its id, or every one that is whole. */
async function chosen(uploads: Uploads, args: Arguments): Promise<readonly string[]> {
  const id = args['id'];
  if (typeof id === 'string') return [id];
  if (args['all'] !== true)
    throw new ImgfsError('usage', `upload ${String(args['action'])} needs an id, or --all`, {
      hint: 'imgfs upload ls',
    });
  return (await uploads.spool.list()).filter(({ owned }) => !owned).map(({ state }) => state.id);
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const settings = settingsFrom(args);
  const uploads = new Uploads({ cacheDirectory: settings.cacheDirectory });
  const action = String(args['action']);
  if (action === 'ls') return list(uploads, context);
  const stores = openStores(settings, []);
  const locals: ImageStore[] = [];
  const open = async (storeId: string): Promise<ImageStore> => {
    const host = storeId.replace(/^docker:\/\//, '');
    if (host !== storeId) return (stores satisfies StoreDirectory).registry(host);
    const store = await openLocalStore(storeId, settings);
    locals.push(store);
    return store;
  };
  try {
    for (const id of await chosen(uploads, args)) await act(action, id, uploads, open, context);
  } finally {
    await uploads.drain(5_000);
    await Promise.all(locals.map((store) => store.close()));
    await stores.close();
  }
}

async function act(
  action: string,
  id: string,
  uploads: Uploads,
  open: (storeId: string) => Promise<ImageStore>,
  { out }: CommandContext,
): Promise<void> {
  const listed = (await uploads.spool.list()).find(({ state }) => state.id === id);
  if (listed === undefined)
    throw new ImgfsError('not-found', `upload ${id}: not in the spool`, { hint: 'imgfs upload ls' });
  const { state } = listed;
  if (state.manifest !== undefined || state.archive !== undefined)
    return actOnOther(action, state, uploads, open, out);
  const writer = await uploads.adopt(id, await open(state.storeId));
  if (writer === undefined) throw busy(id);
  if (action === 'cancel') {
    await uploads.cancel(writer);
    if (out.json) out.document({ id, cancelled: true });
    else out.line(`cancelled ${id}`);
    return;
  }
  if (listed.state.phase === 'open') {
    await writer.close();
    throw new ImgfsError('invalid', `upload ${id}: its content was never finished`, {
      hint: 'write the file again, and cancel this one',
    });
  }
  const { descriptor } = await writer.commit();
  await uploads.close(writer);
  if (out.json) out.document({ id, ...descriptor });
  else out.line(descriptor.digest);
}

const busy = (id: string): ImgfsError => new ImgfsError('busy', `upload ${id}: another process works on it`);

/** A manifest that waits for its blobs, or an archive that waits to be loaded. */
async function actOnOther(
  action: string,
  { id, storeId, repository, manifest, archive }: SpoolState,
  uploads: Uploads,
  open: (storeId: string) => Promise<ImageStore>,
  out: CommandContext['out'],
): Promise<void> {
  const upload = await uploads.spool.adopt(id);
  if (upload === undefined) throw busy(id);
  let isDone = action === 'cancel';
  try {
    if (!isDone) {
      if (upload.state.phase === 'open')
        throw new ImgfsError('invalid', `upload ${id}: its content was never finished`);
      const place = { store: assertPusher(await open(storeId)), repository };
      const { digest } =
        archive === undefined
          ? await putKept(upload, place, manifest)
          : await loadKept(upload, place, archive.tag);
      isDone = true;
      if (out.json) out.document({ id, digest });
      else out.line(digest);
    } else if (out.json) out.document({ id, cancelled: true });
    else out.line(`cancelled ${id}`);
  } finally {
    await (isDone ? upload.remove() : upload.release());
  }
}

/** @throws ImgfsError `invalid` while blobs are missing. */
async function putKept(
  { file }: OwnedUpload,
  place: CopyDestination,
  manifest: SpoolState['manifest'],
): Promise<Descriptor> {
  const bytes = Buffer.alloc(file.size);
  await file.read(bytes, 0);
  const tag = manifest?.tag;
  return pushManifest(place, bytes, tag === undefined ? {} : { tags: [tag] });
}

async function loadKept({ file }: OwnedUpload, place: CopyDestination, tag: string): Promise<Descriptor> {
  const archive = await openImageArchive(file.path);
  try {
    const wanted = await imageForTag(archive, { repository: place.repository, tag });
    return (await loadImage(archive, wanted, place, { tags: [tag] })).descriptor;
  } finally {
    await archive.close();
  }
}

export const uploadCommand: Command = {
  usage: 'upload <action> [id]',
  examples: [
    ['imgfs upload ls', 'what is under way or was cut off'],
    ['imgfs upload resume --all', 'finish what is whole'],
    ['imgfs upload cancel --all', 'give up what nobody works on'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { choices: ['ls', 'resume', 'cancel'] as const, demandOption: true })
      .positional('id', { type: 'string', describe: 'as upload ls shows it' })
      .option('all', { type: 'boolean', default: false, describe: 'every upload that nobody works on' }),
  run,
};
