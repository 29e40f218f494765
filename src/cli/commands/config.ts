/** `imgfs config check`: is the configuration file right, and can the stores it names be opened? */
import { isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { readFileConfig } from '../config-file.js';
import { readPolicy } from '../read-policy.js';
import { openLocalStore } from '../registries.js';
import { settingsFrom, storeOptions } from '../settings.js';

async function run(args: Arguments, { out }: CommandContext): Promise<void> {
  const file = args['file'];
  const { path, exists, stores, policyFile } = await readFileConfig(
    typeof file === 'string' ? file : undefined,
  );
  const settings = settingsFrom(args);
  if (policyFile !== undefined) await readPolicy(policyFile);
  let failure: unknown;
  const rows: object[] = [];
  for (const { name, location } of stores) {
    const problem = await openLocalStore(location, settings).then(
      async (store) => {
        await store.close();
        return undefined;
      },
      (error: unknown) => toImgfsError(error),
    );
    failure ??= problem;
    rows.push({
      name,
      location,
      ...(problem === undefined ? {} : { error: problem.code, message: problem.message }),
    });
    if (!out.json)
      out.line(
        `${problem === undefined ? 'ok  ' : 'bad '} ${name} = ${location}${problem === undefined ? '' : `: ${problem.message}`}`,
      );
  }
  if (out.json)
    out.document({ path, exists, ...(policyFile === undefined ? {} : { policy: policyFile }), stores: rows });
  else out.note(exists ? `${path}: ${stores.length} stores` : `${path}: not there, which is fine`);
  if (isImgfsError(failure)) throw failure;
}

export const configCommand: Command = {
  usage: 'config <action> [file]',
  examples: [['imgfs config check', 'read the file, open every store that it names']],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { choices: ['check'] as const, demandOption: true, describe: 'check' })
      .positional('file', { type: 'string', describe: 'another file than the usual one' }),
  run,
};
