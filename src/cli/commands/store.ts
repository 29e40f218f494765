/** `imgfs store`: what a store is, can do, and how many requests it still allows. */
import { pingStore } from '../../image/library/ping-store.js';
import { storeCapabilities } from '../../store/capabilities.js';
import { isRateLimited } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withStore } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  await withStore(String(args['store']), args, context, async (store, target) => {
    if (args['action'] === 'ping') {
      await pingStore(store, { signal });
      return out.json ? out.document({ store: store.id, answers: true }) : out.line(`${store.id} answers`);
    }
    // Headers with the limit come with answers about manifests.
    if (target.tag !== undefined || target.digest !== undefined) await store.resolve(target, { signal });
    const rateLimit = isRateLimited(store) ? store.rateLimit() : undefined;
    const info = { ...storeCapabilities(store), ...(rateLimit === undefined ? {} : { rateLimit }) };
    if (out.json) return out.document(info);
    for (const [key, value] of Object.entries(info))
      out.line(`${key}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`);
  });
}

export const storeCommand: Command = {
  usage: 'store <action> <store>',
  examples: [
    ['imgfs store info ghcr.io', 'what it can do; no request'],
    ['imgfs store info alpine:3.20', 'and the rate limit, from one HEAD'],
    ['imgfs store ping ghcr.io', 'whether it is there and takes our credentials'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { choices: ['info', 'ping'] as const, demandOption: true })
      .positional('store', {
        type: 'string',
        demandOption: true,
        describe: 'registry, image, or local store',
      }),
  run,
};
