/** Finds the verb, lets yargs parse its words, runs it, and turns what it throws into an exit code. */
import yargs, { type Argv } from 'yargs';
import { exitCodes } from '../errors/codes.js';
import { exitCodeOf } from '../errors/errno.js';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Arguments, Command, CommandContext } from './command.js';
import { setLogLevels } from '../observe/log.js';
import { createOutput } from './output.js';
import { interruptedExit, signalOfProcess } from './signal.js';
import { renderHelp } from './help.js';
import { nearestWord } from './nearest-word.js';
import { findVerb, verbs } from './verbs.js';

/** Stands for a lone `-` while yargs reads the words: as a positional it would make `''` of it. No argument has a NUL. */
const dashWord = '\0-';

const hideDash = (word: string): string => (word === '-' ? dashWord : word);

function withDashes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withDashes);
  return value === dashWord ? '-' : value;
}

function parserFor(words: readonly string[], version: string): Argv {
  return yargs(words.map(hideDash))
    .scriptName('imgfs')
    .version('version', 'show the version', `imgfs ${version}`)
    .help('help', 'show this')
    .option('json', { type: 'boolean', default: false, describe: 'print JSON, one document or one per line' })
    .parserConfiguration({ 'camel-case-expansion': false, 'populate--': true })
    .wrap(Math.min(110, process.stdout.columns ?? 100))
    .strict()
    .exitProcess(false)
    .fail((message, error) => {
      if (error instanceof Error) throw error;
      throw new ImgfsError('usage', message.replaceAll(dashWord, '-'), {
        hint: 'imgfs --help, or imgfs VERB --help, shows the words',
      });
    });
}

/** Ends the parser's work: after a handler that returns, yargs renders the help that nobody asked for, 40 ms. */
const parsedAll = new Error('the words are parsed');

async function parseAndRun(
  command: Command,
  summary: string,
  words: readonly string[],
  context: Omit<CommandContext, 'out'>,
): Promise<number> {
  let parsed: Arguments | undefined;
  const parser = parserFor(words, context.version).command(
    command.usage,
    `${summary}.`,
    (inner) => {
      for (const [example, meaning] of command.examples ?? []) inner.example(example, meaning);
      return command.options(inner);
    },
    (args) => {
      parsed = Object.fromEntries(Object.entries(args).map(([name, value]) => [name, withDashes(value)]));
      throw parsedAll;
    },
  );
  try {
    await parser.parseAsync();
  } catch (error) {
    if (error !== parsedAll) throw error;
  }
  // Help and version were printed: there is nothing to run.
  if (parsed === undefined) return exitCodes.ok;
  const out = createOutput({ json: parsed['json'] === true });
  try {
    return (await command.run(parsed, { ...context, out })) ?? exitCodes.ok;
  } catch (error) {
    if (isBrokenPipe(error)) return exitCodes.ok;
    out.error(error);
    return context.signal.aborted ? interruptedExit : exitCodeOf(error);
  }
}

/**
 * What fails in the tree is thrown at the verb, and told once, as its error. In a mount there is nobody to throw it at:
 * there the log is all that is left of it.
 */
function quietTree(verb: string): void {
  if (process.env['IMGFS_LOG'] === undefined && verb !== 'mount') setLogLevels('warn,vfs=error');
}

/** `imgfs cat … | head` is no failure. */
function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'EPIPE';
}

/**
 * Run the command line.
 * @param words arguments without node and script.
 * @returns the exit code.
 */
export async function run(words: readonly string[], version: string): Promise<number> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(exitCodes.ok);
    throw error;
  });
  // `imgfs help VERB` is `imgfs VERB --help`.
  const asked = words[0] === 'help' && findVerb(words[1]) !== undefined ? [words[1] ?? '', '--help'] : words;
  const [first] = asked;
  const verb = findVerb(first);
  try {
    if (verb !== undefined) {
      quietTree(verb.name);
      const command = await verb.load();
      return await parseAndRun(command, verb.summary, asked, { signal: signalOfProcess(), version });
    }
    if (first === undefined || first === 'help' || first === '--help' || first === '-h') {
      process.stdout.write(`${renderHelp()}\n`);
      return first === undefined ? exitCodes.usage : exitCodes.ok;
    }
    const meant = nearestWord(
      first,
      verbs.map(({ name }) => name),
    );
    throw new ImgfsError('usage', `there is no verb ${JSON.stringify(first)}`, {
      hint: `${meant === undefined ? '' : `did you mean ${meant}? `}imgfs --help lists the verbs`,
    });
  } catch (error) {
    createOutput({ json: words.includes('--json') }).error(error);
    return exitCodeOf(error);
  }
}
