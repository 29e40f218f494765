/** `imgfs completion`: a script for the shell; it knows verbs and their options. */
import yargs from 'yargs';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { findVerb, verbs } from '../verbs.js';

interface OptionWord {
  readonly name: string;
  readonly describe: string;
}

/** Long options of a verb, asked from yargs itself so that no list has to be kept in step. */
async function optionsOf(verbName: string): Promise<OptionWord[]> {
  const command = await findVerb(verbName)?.load();
  if (command === undefined) return [];
  const parser = command.options(yargs([]).help(false).version(false)) as unknown as {
    getOptions(): { key: Record<string, unknown>; hiddenOptions: string[] };
    getInternalMethods(): { getUsageInstance(): { getDescriptions(): Record<string, string | undefined> } };
  };
  const { key, hiddenOptions } = parser.getOptions();
  const descriptions = parser.getInternalMethods().getUsageInstance().getDescriptions();
  return Object.keys(key)
    .filter((name) => name.length > 1 && !hiddenOptions.includes(name) && descriptions[name] !== undefined)
    .map((name) => ({ name, describe: (descriptions[name] ?? '').replace('__yargsString__:', '') }));
}

const single = (text: string): string => `'${text.replace(/'/g, `'\\''`)}'`;

async function bashScript(): Promise<string> {
  const cases: string[] = [];
  for (const { name } of verbs) {
    const words = (await optionsOf(name)).map((option) => `--${option.name}`);
    cases.push(`    ${name}) words=${single([...words, '--json', '--help'].join(' '))} ;;`);
  }
  return `# bash completion of imgfs: source <(imgfs completion bash)
_imgfs() {
  local current=\${COMP_WORDS[COMP_CWORD]} words
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W ${single(verbs.map((verb) => verb.name).join(' '))} -- "$current"))
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}
complete -o default -F _imgfs imgfs
`;
}

async function zshScript(): Promise<string> {
  const cases: string[] = [];
  for (const { name } of verbs) {
    const words = (await optionsOf(name)).map((option) =>
      single(`--${option.name}[${option.describe.replace(/[[\]]/g, '')}]`),
    );
    cases.push(`    ${name}) _arguments ${[...words, "'*:file:_files'"].join(' ')} ;;`);
  }
  const names = verbs.map((verb) => single(`${verb.name}:${verb.summary}`)).join(' ');
  return `#compdef imgfs
# zsh completion of imgfs: source <(imgfs completion zsh)
_imgfs() {
  if (( CURRENT == 2 )); then
    local -a verbs=(${names})
    _describe 'verb' verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
${cases.join('\n')}
  esac
}
compdef _imgfs imgfs
`;
}

async function fishScript(): Promise<string> {
  const lines = ['# fish completion of imgfs: imgfs completion fish | source'];
  for (const verb of verbs) {
    lines.push(`complete -c imgfs -n __fish_use_subcommand -f -a ${verb.name} -d ${single(verb.summary)}`);
    for (const option of await optionsOf(verb.name)) {
      lines.push(
        `complete -c imgfs -n '__fish_seen_subcommand_from ${verb.name}' -l ${option.name} -d ${single(option.describe)}`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

async function run(args: Arguments, { out }: CommandContext): Promise<void> {
  const shell = String(args['shell']);
  const scripts: Record<string, () => Promise<string>> = {
    bash: bashScript,
    zsh: zshScript,
    fish: fishScript,
  };
  const script = scripts[shell];
  if (script === undefined) {
    throw new ImgfsError('usage', `no completion for ${JSON.stringify(shell)}`, {
      hint: 'bash, zsh and fish are known',
    });
  }
  await out.bytes(Buffer.from(await script()));
}

export const completionCommand: Command = {
  usage: 'completion <shell>',
  examples: [['source <(imgfs completion bash)', 'in ~/.bashrc']],
  options: (parser) =>
    parser.positional('shell', {
      choices: ['bash', 'zsh', 'fish'] as const,
      demandOption: true,
      describe: 'which shell',
    }),
  run,
};
