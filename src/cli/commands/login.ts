/** `imgfs login`: ask the registry whether it takes the password, then keep it where podman and skopeo read it. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { parseLoginScope, storeCredential } from '../../store/registry/config/login.js';
import type { Credential } from '../../store/registry/credential.js';
import { credentialsFromOption, registryConfig } from '../access.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { openRegistryWith } from '../registries.js';
import { settingsFrom, storeOptions, type Settings } from '../settings.js';

/** Passwords and tokens are short; more on stdin is a mistake. */
const maxPasswordBytes = 64 * 1024;

async function passwordFromStdin(): Promise<string> {
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.length > maxPasswordBytes) throw new ImgfsError('usage', 'the password on stdin is too long');
  }
  return text.replace(/\r?\n$/, '');
}

/** Ask on the terminal; nothing is shown while a password is typed. */
async function ask(question: string, hidden: boolean, signal: AbortSignal): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new ImgfsError('usage', `${question.toLowerCase()} is needed, and there is no terminal to ask on`, {
      hint: 'give --username and --password-stdin',
    });
  }
  process.stderr.write(`${question}: `);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({
    input: process.stdin,
    output: hidden ? silent : process.stderr,
    terminal: true,
  });
  try {
    return await reader.question('', { signal });
  } finally {
    reader.close();
    if (hidden) process.stderr.write('\n');
  }
}

async function credentialFrom(
  args: Arguments,
  settings: Settings,
  signal: AbortSignal,
): Promise<Credential & { kind: 'basic' }> {
  if (settings.credentials !== undefined) return credentialsFromOption(settings.credentials);
  const username =
    typeof args['username'] === 'string' ? args['username'] : await ask('Username', false, signal);
  const given = args['password'];
  const password =
    args['password-stdin'] === true
      ? await passwordFromStdin()
      : typeof given === 'string'
        ? given
        : await ask('Password', true, signal);
  if (username === '' || password === '')
    throw new ImgfsError('usage', 'user name and password may not be empty');
  return { kind: 'basic', username, password };
}

async function showLogin(
  registry: string,
  settings: Settings,
  { out, signal }: CommandContext,
): Promise<void> {
  const scope = parseLoginScope(registry);
  const { credential, origin } = await registryConfig(settings).credentials.find(
    scope.host,
    scope.namespace,
    { signal },
  );
  if (credential.kind === 'anonymous') {
    throw new ImgfsError('not-found', `not logged in to ${registry}`, { hint: `imgfs login ${registry}` });
  }
  const username = credential.kind === 'basic' ? credential.username : `<${credential.kind}>`;
  if (out.json) out.document({ registry, username, origin });
  else out.line(username);
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const settings = settingsFrom(args);
  const registry = String(args['registry']);
  if (args['get-login'] === true) return showLogin(registry, settings, context);
  const scope = parseLoginScope(registry);
  const credential = await credentialFrom(args, settings, signal);
  const config = registryConfig(settings);
  const store = await openRegistryWith(scope.host, settings, config.endpoints, {
    find: async () => ({ credential, origin: 'this login' }),
  });
  try {
    await store.ping({ signal });
  } finally {
    await store.close();
  }
  const { writtenTo, shadowedBy } = await storeCredential(scope, credential, config.authOptions);
  if (out.json) out.document({ registry, writtenTo, shadowedBy });
  else out.line(`logged in to ${registry}; kept in ${writtenTo}`);
  if (shadowedBy !== undefined) out.note(`${shadowedBy} comes first and will be used instead`);
}

export const loginCommand: Command = {
  usage: 'login <registry>',
  examples: [
    ['imgfs login ghcr.io -u me --password-stdin < token', 'nothing secret in ps or history'],
    ['imgfs login --get-login ghcr.io', 'who am I there'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('registry', { type: 'string', demandOption: true, describe: 'host[:port][/namespace]' })
      .option('username', { alias: 'u', type: 'string', requiresArg: true, describe: 'user name' })
      .option('password', {
        alias: 'p',
        type: 'string',
        requiresArg: true,
        describe: 'password (visible in ps; prefer --password-stdin)',
      })
      .option('password-stdin', { type: 'boolean', describe: 'read the password from stdin' })
      .option('get-login', { type: 'boolean', describe: 'show the user name that is kept' }),
  run,
};
