/** `imgfs search`: repositories by a part of their name, or as Docker Hub finds them. */
import { Registry } from '../../image/library/registry.js';
import { isRegistryHost, dockerHub } from '../../oci/reference.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { openRuntime } from '../runtime.js';
import { settingsFrom, storeOptions } from '../settings.js';

/** `ghcr.io/app` searches there; a word alone is for Docker Hub, as in `docker search`. */
function placeOf(text: string): { readonly host: string; readonly term: string } {
  const slash = text.indexOf('/');
  const head = text.slice(0, slash);
  return slash > 0 && isRegistryHost(head)
    ? { host: head, term: text.slice(slash + 1) }
    : { host: dockerHub, term: text };
}

async function run(args: Arguments, { out, signal }: CommandContext): Promise<void> {
  const { host, term } = placeOf(String(args['term']));
  const runtime = await openRuntime(settingsFrom(args), []);
  try {
    const registry = new Registry(await runtime.stores.registry(host), { content: runtime.content });
    for await (const hit of registry.lookup(term, { signal, limit: Number(args['limit']) })) {
      const name = `${host}/${hit.name}`;
      if (out.json) out.document({ ...hit, name });
      else out.line(hit.description === undefined ? name : `${name}  ${hit.description}`);
    }
  } finally {
    await runtime.close();
  }
}

export const searchCommand: Command = {
  usage: 'search <term>',
  examples: [
    ['imgfs search alpine', 'on Docker Hub'],
    ['imgfs search registry.local:5000/app', 'names with "app", where a registry has a catalog'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('term', { type: 'string', demandOption: true, describe: 'word, or HOST/WORD' })
      .option('limit', { type: 'number', default: 25, describe: 'no more hits than that' }),
  run,
};
