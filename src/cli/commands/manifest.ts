/** `imgfs manifest`: manifests as bytes: put, get, head, rm. */
import { readFile } from 'node:fs/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { pushManifest } from '../../image/push-manifest.js';
import { readManifest } from '../../image/read-manifest.js';
import { assertPusher } from '../../image/upload/uploads.js';
import { maxManifestBytes } from '../../oci/parse-manifest.js';
import { isDeleter } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withStore } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function readInput(path: string): Promise<Buffer> {
  if (path !== '-') return readFile(path);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length > maxManifestBytes)
      throw new ImgfsError('too-large', `stdin is more than ${maxManifestBytes} bytes`);
  }
  return Buffer.concat(chunks);
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const action = String(args['action']);
  await withStore(String(args['reference']), args, context, async (store, target) => {
    const { repository, tag, digest } = target;
    if (action === 'put') {
      const file = args['file'];
      if (typeof file !== 'string')
        throw new ImgfsError('usage', 'manifest put needs a file, or - for stdin');
      const put = await pushManifest({ store: assertPusher(store), repository }, await readInput(file), {
        signal,
        ...(digest !== undefined ? { expected: digest } : tag === undefined ? {} : { tags: [tag] }),
      });
      return out.json ? out.document(put) : out.line(put.digest);
    }
    const { descriptor } = await store.resolve(target, { signal });
    if (action === 'get') return out.bytes(await readManifest(store, repository, descriptor, { signal }));
    if (action === 'head')
      return out.json
        ? out.document(descriptor)
        : out.line(`${descriptor.digest} ${descriptor.size} ${descriptor.mediaType}`);
    if (!isDeleter(store)) throw new ImgfsError('read-only-store', `${store.id} cannot delete`);
    await store.deleteManifest(repository, descriptor.digest, { signal });
    return out.json ? out.document({ removed: descriptor.digest }) : out.line(`removed ${descriptor.digest}`);
  });
}

export const manifestCommand: Command = {
  usage: 'manifest <action> <reference> [file]',
  examples: [
    ['imgfs manifest get alpine:3.20', 'the exact bytes the tag names'],
    ['imgfs manifest put ghcr.io/me/app:v2 manifest.json', 'checked, then put under the tag'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { choices: ['put', 'get', 'head', 'rm'] as const, demandOption: true })
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .positional('file', { type: 'string', describe: 'for put: a file, or - for stdin' }),
  run,
};
