/** `imgfs blob`: single blobs of a repository: put, get, head, rm, mount. */
import { ifMissing } from '../../errors/if-missing.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { assertPusher, Uploads } from '../../image/upload/uploads.js';
import { createDigester, digestAlgorithm, parseDigest } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { isBlobStatter, isDeleter, type ImageStore } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { readInput } from '../read-input.js';
import { withStore } from '../runtime.js';
import { settingsFrom, storeOptions } from '../settings.js';

function argument(args: Arguments, what: string): string {
  const value = args['argument'];
  if (typeof value === 'string') return value;
  throw new ImgfsError('usage', `blob ${String(args['action'])} needs ${what}`);
}

async function put(
  store: ImageStore,
  repository: string,
  args: Arguments,
  context: CommandContext,
): Promise<void> {
  const path = argument(args, 'a file, or - for stdin');
  const expected = typeof args['digest'] === 'string' ? parseDigest(args['digest']) : undefined;
  if (expected !== undefined && isBlobStatter(store)) {
    const there = await ifMissing(
      store.statBlob(repository, expected, { signal: context.signal }),
      undefined,
    );
    if (there !== undefined)
      return context.out.json
        ? context.out.document({ ...there, kind: 'present' })
        : context.out.line(expected);
  }
  const uploads = new Uploads({ cacheDirectory: settingsFrom(args).cacheDirectory });
  const writer = await uploads.start({
    store,
    repository,
    name: path,
    ...(expected === undefined ? {} : { expected }),
  });
  try {
    for await (const chunk of readInput(path)) {
      context.signal.throwIfAborted();
      await writer.write(chunk, writer.size);
    }
    const { descriptor, kind } = await writer.commit();
    if (context.out.json) context.out.document({ ...descriptor, kind });
    else context.out.line(descriptor.digest);
  } catch (error) {
    // A file that cannot be read is no upload. What the registry did not take stays, to be resumed.
    if (writer.failure === undefined) await uploads.cancel(writer);
    throw error;
  } finally {
    await uploads.drain(5_000);
  }
}

async function get(
  store: ImageStore,
  repository: string,
  args: Arguments,
  { out, signal }: CommandContext,
): Promise<void> {
  const digest = parseDigest(argument(args, 'a digest'));
  const size = isBlobStatter(store) ? (await store.statBlob(repository, digest, { signal })).size : 0;
  const descriptor = { mediaType: mediaTypes.octetStream, digest, size };
  const body = await store.fetch(repository, descriptor, { signal });
  const digester = createDigester(digestAlgorithm(digest));
  for await (const chunk of body.chunks) {
    digester.update(chunk);
    await out.bytes(chunk);
  }
  const got = digester.digest();
  if (got !== digest)
    throw new ImgfsError('integrity', `blob get: the bytes are ${got}, not ${digest}`, { digest });
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const action = String(args['action']);
  await withStore(String(args['repository']), args, context, async (store, { repository }) => {
    if (action === 'put') return put(store, repository, args, context);
    if (action === 'get') return get(store, repository, args, context);
    const digest = parseDigest(argument(args, 'a digest'));
    if (action === 'head') {
      if (!isBlobStatter(store)) throw new ImgfsError('unsupported', `${store.id} cannot be asked for blobs`);
      const found = await store.statBlob(repository, digest, { signal });
      return out.json ? out.document(found) : out.line(`${found.digest} ${found.size}`);
    }
    if (action === 'rm') {
      if (!isDeleter(store)) throw new ImgfsError('read-only-store', `${store.id} cannot delete`);
      await store.deleteBlob(repository, digest, { signal });
      return out.json ? out.document({ removed: digest }) : out.line(`removed ${digest}`);
    }
    const from = args['from'];
    if (typeof from !== 'string') throw new ImgfsError('usage', 'blob mount needs --from REPOSITORY');
    const mounted = await assertPusher(store).mountBlob(repository, from, digest, { signal });
    if (!mounted)
      throw new ImgfsError('unsupported', `blob mount: the registry would not take ${digest} from ${from}`, {
        hint: 'copy the image with imgfs cp, which sends what cannot be mounted',
      });
    return out.json ? out.document({ mounted: digest, from }) : out.line(`mounted ${digest}`);
  });
}

export const blobCommand: Command = {
  usage: 'blob <action> <repository> [argument]',
  examples: [
    ['imgfs blob put ghcr.io/me/app layer.tar.gz', 'upload a file, print its digest'],
    ['imgfs blob head ghcr.io/me/app sha256:…', 'whether it is there, and its size'],
    ['imgfs blob get ghcr.io/me/app sha256:… > layer.tar.gz', 'verified; never ends well with wrong bytes'],
    ['imgfs blob mount ghcr.io/me/b sha256:… --from me/a', 'take it over from me/a, without moving a byte'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { choices: ['put', 'get', 'head', 'rm', 'mount'] as const, demandOption: true })
      .positional('repository', {
        type: 'string',
        demandOption: true,
        describe: 'repository, or a local store',
      })
      .positional('argument', { type: 'string', describe: 'a file for put, a digest for the others' })
      .option('digest', {
        type: 'string',
        requiresArg: true,
        describe: 'put: the content must be this; nothing is read where it is there already',
      })
      .option('from', { type: 'string', requiresArg: true, describe: 'repository that has the blob' }),
  run,
};
