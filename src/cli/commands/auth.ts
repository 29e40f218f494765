/** `imgfs auth why`: which credential would be used for a reference, and where it was looked for. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isRegistryHost } from '../../oci/reference.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { registryConfig } from '../access.js';
import { formatTable } from '../output.js';
import { settingsFrom, storeOptions } from '../settings.js';
import { parseImageArgument } from '../tree-path.js';

/** A host alone is a question about the whole registry. */
function scopeOf(text: string): { registry: string; repository: string | undefined } {
  if (isRegistryHost(text)) return { registry: text, repository: undefined };
  const { registry, repository } = parseImageArgument(text);
  return { registry, repository };
}

async function run(args: Arguments, { out, signal }: CommandContext): Promise<void> {
  if (args['question'] !== 'why') {
    throw new ImgfsError('usage', `auth answers "why", not ${JSON.stringify(args['question'])}`, {
      hint: 'write imgfs auth why REFERENCE',
    });
  }
  const { registry, repository } = scopeOf(String(args['reference']));
  const source = registryConfig(settingsFrom(args)).credentials;
  const { found, steps, error } = await source.explain(registry, repository, { signal });
  if (out.json) {
    out.document({
      registry,
      repository,
      kind: found.credential.kind,
      origin: found.origin,
      steps,
      ...(error === undefined
        ? {}
        : { error: { code: error.code, message: error.message, hint: error.hint } }),
    });
  } else {
    const rows = steps.map((step) => [step.outcome, step.place, step.detail ?? `(${step.reason})`]);
    for (const line of formatTable(rows)) out.line(line);
    if (error === undefined) out.line(`used: ${found.origin}`);
  }
  if (error !== undefined) throw error;
}

export const authCommand: Command = {
  usage: 'auth <question> <reference>',
  examples: [
    ['imgfs auth why ghcr.io/me/app', 'each place looked at, and the one that counts; never the secret'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('question', { type: 'string', demandOption: true, describe: 'why' })
      .positional('reference', { type: 'string', demandOption: true, describe: 'reference or registry' }),
  run,
};
