/** Options and positionals of a verb, asked from yargs itself so that no list has to be kept in step. */
import yargs from 'yargs';
import type { Command } from './command.js';

/** One long option. */
export interface OptionWord {
  readonly name: string;
  readonly describe: string;
  /** Takes a value. */
  readonly takesValue: boolean;
  readonly choices: readonly string[];
  readonly fallback: string | undefined;
}

/** A verb's words. */
export interface CommandWords {
  readonly options: readonly OptionWord[];
  /** Values that a positional may have, by its name. */
  readonly choices: Readonly<Record<string, readonly string[]>>;
}

interface Parser {
  getOptions(): {
    key: Record<string, unknown>;
    hiddenOptions: string[];
    choices: Record<string, readonly string[]>;
    boolean: string[];
    default: Record<string, unknown>;
  };
  getInternalMethods(): { getUsageInstance(): { getDescriptions(): Record<string, string | undefined> } };
}

/** Names of positionals in a usage: `cp <source> [more..]`. */
export function positionalsOf({ usage }: Pick<Command, 'usage'>): readonly string[] {
  return [...usage.matchAll(/[<[]([a-z-]+)(?:\.\.)?[>\]]/g)].map(([, name = '']) => name);
}

export function wordsOf(command: Command): CommandWords {
  const parser = command.options(yargs([]).help(false).version(false)) as unknown as Parser;
  const { key, hiddenOptions, choices, boolean, default: defaults } = parser.getOptions();
  const descriptions = parser.getInternalMethods().getUsageInstance().getDescriptions();
  const positionals = new Set(positionalsOf(command));
  const options = Object.keys(key)
    .filter((name) => name.length > 1 && !hiddenOptions.includes(name) && !positionals.has(name))
    .filter((name) => descriptions[name] !== undefined)
    .map((name): OptionWord => {
      const fallback = defaults[name];
      const shown =
        typeof fallback === 'string' || typeof fallback === 'number' ? String(fallback) : undefined;
      return {
        name,
        describe: (descriptions[name] ?? '').replace('__yargsString__:', ''),
        takesValue: !boolean.includes(name),
        choices: choices[name] ?? [],
        fallback: shown,
      };
    });
  return { options, choices };
}
