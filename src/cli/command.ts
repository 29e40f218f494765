/** What a verb of the command line is. Each lives in its own file and is loaded only when it is called. */
import type { Argv } from 'yargs';
import type { Output } from './output.js';

/** What a running command may use of its surroundings. */
export interface CommandContext {
  readonly out: Output;
  /** Fires at the first SIGINT or SIGTERM; the second one ends the process at once. */
  readonly signal: AbortSignal;
  readonly version: string;
}

export type Arguments = Readonly<Record<string, unknown>>;

export interface Command {
  /** yargs' grammar, verb first: `ls <reference>`. */
  readonly usage: string;
  readonly examples?: readonly (readonly [command: string, meaning: string])[];
  options(yargs: Argv): Argv;
  /** Throws ImgfsErrors; the exit code comes from them. A number returned is the exit code. */
  run(args: Arguments, context: CommandContext): Promise<number | void>;
}
