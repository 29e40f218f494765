/**
 * The protocol of credential helpers (docker/docker-credential-helpers): a program `docker-credential-<name>` with
 * one of four verbs as argument, input on stdin, answer on stdout.
 *
 * A helper's name comes from a configuration file and the server from a reference, so neither may become a command:
 * names are a closed alphabet, the program is looked up in absolute directories of PATH only and started without a
 * shell, and the server goes through stdin. Secrets are never in arguments, messages or logs. stderr is not kept: it
 * is where helpers print what they like.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { ImgfsError, escapeControl } from '../../../errors/imgfs-error.js';
import type { Credential } from '../credential.js';
import { isObject } from './auth-document.js';
import { untilAborted } from './deadline.js';
import { variable, type Environment } from './environment.js';

/** Cloud helpers ask a metadata service or the network; all of them answer in a few seconds or not at all. */
export const helperDeadlineMs = 10_000;

/** A credential is at most a few tokens of 10 KB; `list` of a thousand servers is 100 KB. */
const maxOutputBytes = 1 << 20;

/** What PATH is without one, as in mount units of systemd. */
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What helpers print instead of a credential when they have none. */
const notFoundMessage = 'credentials not found in native keychain';

type Verb = 'get' | 'store' | 'erase' | 'list';

export interface CredentialHelper {
  readonly name: string;
  /** The credential for a server; undefined when the helper has none. */
  get(server: string, signal?: AbortSignal): Promise<Credential | undefined>;
  store(server: string, username: string, secret: string, signal?: AbortSignal): Promise<void>;
  /** False when there was nothing to erase. */
  erase(server: string, signal?: AbortSignal): Promise<boolean>;
  /** User names by server. */
  list(signal?: AbortSignal): Promise<ReadonlyMap<string, string>>;
}

export interface HelperOptions {
  /** For tests; {@link helperDeadlineMs} otherwise. */
  readonly deadlineMs?: number;
}

/**
 * A helper by the name used in `credHelpers` and `credsStore`.
 * @throws ImgfsError `config` for a name outside `[A-Za-z0-9._-]+`. Its methods throw `config` when the program is
 *   missing, fails, answers nonsense or takes too long, and `interrupted`.
 */
export function createCredentialHelper(
  name: string,
  environment: Environment,
  options: HelperOptions = {},
): CredentialHelper {
  if (!/^[A-Za-z0-9._-]{1,128}$/.test(name)) {
    throw new ImgfsError(
      'config',
      `not the name of a credential helper: ${JSON.stringify(name.slice(0, 200))}`,
      {
        operation: 'read credentials',
        hint: 'credHelpers, credsStore and credential-helpers name what follows docker-credential-, such as "pass"',
      },
    );
  }
  const run = async (verb: Verb, input: string, signal?: AbortSignal): Promise<HelperAnswer> =>
    await runHelper(
      { name, verb, input, environment, deadlineMs: options.deadlineMs ?? helperDeadlineMs },
      signal,
    );
  return {
    name,
    get: async (server, signal) => {
      const answer = await run('get', checkServer(server, name), signal);
      if (answer.notFound) return undefined;
      return readCredential(expectSuccess(answer, name, 'get'), name);
    },
    store: async (server, username, secret, signal) => {
      const fields = { ServerURL: checkServer(server, name), Username: username, Secret: secret };
      const answer = await run('store', `${JSON.stringify(fields)}\n`, signal);
      const echoes = answer.output.includes(secret);
      expectSuccess(echoes ? { ...answer, output: '' } : answer, name, 'store');
    },
    erase: async (server, signal) => {
      const answer = await run('erase', checkServer(server, name), signal);
      if (answer.notFound) return false;
      expectSuccess(answer, name, 'erase');
      return true;
    },
    list: async (signal) => readList(expectSuccess(await run('list', '', signal), name, 'list'), name),
  };
}

function failure(name: string, verb: string, why: string, cause?: unknown): ImgfsError {
  return new ImgfsError('config', `docker-credential-${name} ${verb}: ${why}`, {
    operation: 'ask credential helper',
    hint: `run "docker-credential-${name} ${verb}" yourself, or remove it from the credential file`,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** A line of its own, and nothing a helper could take for a second one. */
function checkServer(server: string, name: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/^[^\u0000-\u0020\u007f]{1,1024}$/.test(server)) return server;
  throw failure(name, 'get', `refused to ask for the server ${JSON.stringify(server.slice(0, 200))}`);
}

interface HelperAnswer {
  readonly exitCode: number | null;
  readonly output: string;
  readonly notFound: boolean;
}

function expectSuccess(answer: HelperAnswer, name: string, verb: Verb): string {
  if (answer.exitCode === 0) return answer.output;
  // Only `get` may print a secret, and only when it succeeds; the message is still cut short.
  const said = escapeControl(answer.output.trim().slice(0, 200));
  const how = answer.exitCode === null ? 'was killed' : `failed with exit code ${answer.exitCode}`;
  throw failure(name, verb, said === '' ? how : `${how}: ${said}`);
}

function parseAnswer(output: string, name: string, verb: Verb): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    value = undefined; // The parser's message would quote the secret.
  }
  if (!isObject(value)) throw failure(name, verb, 'the answer is not a JSON object');
  return value;
}

/** helper user `<token>`: the secret is a refresh token. */
function readCredential(output: string, name: string): Credential | undefined {
  const { Username: username, Secret: secret } = parseAnswer(output, name, 'get');
  if (typeof username !== 'string' || typeof secret !== 'string') {
    throw failure(name, 'get', 'the answer has no Username and Secret');
  }
  if (username === '<token>') return { kind: 'identity-token', token: secret };
  if (username === '' && secret === '') return undefined;
  return { kind: 'basic', username, password: secret };
}

function readList(output: string, name: string): ReadonlyMap<string, string> {
  const servers = new Map<string, string>();
  for (const [server, username] of Object.entries(parseAnswer(output, name, 'list'))) {
    servers.set(server, typeof username === 'string' ? username : '');
  }
  return servers;
}

/** The program's path, or undefined: only absolute directories of PATH are searched, never the working directory. */
async function findProgram(name: string, environment: Environment): Promise<string | undefined> {
  const path = variable(environment, 'PATH') ?? defaultPath;
  for (const folder of path.split(':')) {
    if (!isAbsolute(folder)) continue;
    const candidate = join(folder, `docker-credential-${name}`);
    try {
      if (!(await stat(candidate)).isFile()) continue;
      await access(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not there or not executable: the next directory.
    }
  }
  return undefined;
}

/** True for the error that says that a helper's program is not installed. */
export function isHelperMissing(error: unknown): boolean {
  return error instanceof ImgfsError && error.cause === helperMissing;
}

const helperMissing = new Error('the program is not on PATH');

interface HelperRun {
  readonly name: string;
  readonly verb: Verb;
  readonly input: string;
  readonly environment: Environment;
  readonly deadlineMs: number;
}

async function runHelper(run: HelperRun, signal: AbortSignal | undefined): Promise<HelperAnswer> {
  const program = await findProgram(run.name, run.environment);
  if (program === undefined) throw failure(run.name, run.verb, helperMissing.message, helperMissing);
  const limit = AbortSignal.timeout(run.deadlineMs);
  const stop = signal === undefined ? limit : AbortSignal.any([limit, signal]);
  try {
    return await untilAborted(talk(program, run, stop), stop);
  } catch (error) {
    if (limit.aborted && signal?.aborted !== true) {
      throw failure(run.name, run.verb, `no answer within ${run.deadlineMs} ms`);
    }
    throw error;
  }
}

function talk(program: string, run: HelperRun, stop: AbortSignal): Promise<HelperAnswer> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [run.verb], {
      env: helperVariables(run.environment),
      stdio: ['pipe', 'pipe', 'ignore'],
      shell: false,
    });
    const chunks: Buffer[] = [];
    let length = 0;
    // The pipe may be held open by what the helper started itself: let go of it too.
    const letGo = (): void => {
      child.kill('SIGKILL');
      child.stdout.destroy();
    };
    stop.addEventListener('abort', letGo, { once: true });
    const fail = (why: string, cause?: unknown): void => {
      reject(failure(run.name, run.verb, why, cause));
      letGo();
    };
    child.stdout.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > maxOutputBytes) fail(`the answer is over ${maxOutputBytes} bytes`);
      else chunks.push(chunk);
    });
    child.on('error', (error) => {
      fail(`cannot be started: ${(error as NodeJS.ErrnoException).code ?? error.message}`, error);
    });
    child.on('close', (exitCode) => {
      stop.removeEventListener('abort', letGo);
      const output = Buffer.concat(chunks).toString('utf8');
      resolve({ exitCode, output, notFound: exitCode !== 0 && output.trim() === notFoundMessage });
    });
    // A helper that does not read its input closes the pipe early: what counts is its answer.
    child.stdin.on('error', () => undefined);
    child.stdin.end(run.input);
  });
}

/** The helper needs the session (HOME, DBUS…, cloud settings), but not the credentials that are not its own. */
function helperVariables(environment: Environment): NodeJS.ProcessEnv {
  const { DOCKER_AUTH_CONFIG: _, ...variables } = environment.variables;
  return { ...variables, PATH: variable(environment, 'PATH') ?? defaultPath };
}
