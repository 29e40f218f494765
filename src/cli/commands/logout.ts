/** `imgfs logout`: forget the credential of a registry, wherever podman, skopeo and docker would find it. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { eraseCredential, parseLoginScope } from '../../store/registry/config/login.js';
import { registryConfig } from '../access.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { settingsFrom, storeOptions } from '../settings.js';

async function run(args: Arguments, { out }: CommandContext): Promise<void> {
  const registry = String(args['registry']);
  const { removedFrom, stillFoundIn } = await eraseCredential(
    parseLoginScope(registry),
    registryConfig(settingsFrom(args)).authOptions,
  );
  if (removedFrom.length === 0) {
    throw new ImgfsError('not-found', `no credential of ${registry} is kept here`, {
      hint: `imgfs auth why ${registry} shows where was looked`,
    });
  }
  if (out.json) out.document({ registry, removedFrom, stillFoundIn });
  else for (const place of removedFrom) out.line(`removed from ${place}`);
  if (stillFoundIn !== undefined) out.note(`${stillFoundIn} still has one; it is not ours to remove`);
}

export const logoutCommand: Command = {
  usage: 'logout <registry>',
  examples: [['imgfs logout ghcr.io', 'the password is gone from where login kept it']],
  options: (yargs) =>
    storeOptions(yargs).positional('registry', {
      type: 'string',
      demandOption: true,
      describe: 'host[:port][/namespace]',
    }),
  run,
};
