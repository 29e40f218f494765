/** `imgfs completion`: a script for the shell; it knows verbs, their options, and asks for references. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { completeReference } from '../complete-reference.js';
import { wordsOf, type CommandWords } from '../option-words.js';
import { openLocalStore } from '../registries.js';
import { openRuntime } from '../runtime.js';
import { settingsFrom, storeOptions } from '../settings.js';
import { findVerb, verbs } from '../verbs.js';

/** Long options of a verb, and the words its first positional may be. */
async function optionsOf(verbName: string): Promise<CommandWords['options']> {
  const command = await findVerb(verbName)?.load();
  return command === undefined ? [] : wordsOf(command).options;
}

async function actionsOf(verbName: string): Promise<readonly string[]> {
  const command = await findVerb(verbName)?.load();
  return command === undefined ? [] : (wordsOf(command).choices['action'] ?? []);
}

const single = (text: string): string => `'${text.replace(/'/g, `'\\''`)}'`;

async function bashScript(): Promise<string> {
  const cases: string[] = [];
  for (const { name } of verbs) {
    const words = (await optionsOf(name)).map((option) => `--${option.name}`);
    const actions = (await actionsOf(name)).join(' ');
    cases.push(
      `    ${name}) words=${single([...words, '--json', '--help'].join(' '))} actions=${single(actions)} ;;`,
    );
  }
  return `# bash completion of imgfs: source <(imgfs completion bash)
_imgfs() {
  # A colon ends a word for bash: references are taken from the line itself.
  local line=\${COMP_LINE:0:$COMP_POINT} words= actions=
  local current=\${line##* }
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W ${single(verbs.map((verb) => verb.name).join(' '))} -- "$current"))
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  elif [ "$COMP_CWORD" -eq 2 ] && [ -n "$actions" ]; then
    COMPREPLY=($(compgen -W "$actions" -- "$current"))
  else
    local before=\${current%"\${current##*:}"}
    COMPREPLY=($(imgfs completion words "$current" 2>/dev/null))
    COMPREPLY=("\${COMPREPLY[@]#"$before"}")
    [[ \${COMPREPLY[0]-} == */ || \${COMPREPLY[0]-} == *: ]] && compopt -o nospace 2>/dev/null
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
    const actions = await actionsOf(name);
    const first = actions.length === 0 ? [] : [single(`1:action:(${actions.join(' ')})`)];
    cases.push(
      `    ${name}) _arguments ${[...words, ...first, "'*:reference:_imgfs_reference'"].join(' ')} ;;`,
    );
  }
  const names = verbs.map((verb) => single(`${verb.name}:${verb.summary}`)).join(' ');
  return `#compdef imgfs
# zsh completion of imgfs: source <(imgfs completion zsh)
_imgfs_reference() {
  local -a names=(\${(f)"$(imgfs completion words "$PREFIX" 2>/dev/null)"})
  (( \${#names} )) && compadd -S '' -- $names
  _files
}
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
  const lines = [
    '# fish completion of imgfs: imgfs completion fish | source',
    "complete -c imgfs -n 'not __fish_use_subcommand' -a '(imgfs completion words (commandline -ct) 2>/dev/null)'",
  ];
  for (const verb of verbs) {
    lines.push(`complete -c imgfs -n __fish_use_subcommand -f -a ${verb.name} -d ${single(verb.summary)}`);
    const actions = await actionsOf(verb.name);
    if (actions.length > 0)
      lines.push(
        `complete -c imgfs -n '__fish_seen_subcommand_from ${verb.name}' -a ${single(actions.join(' '))}`,
      );
    for (const option of await optionsOf(verb.name)) {
      lines.push(
        `complete -c imgfs -n '__fish_seen_subcommand_from ${verb.name}' -l ${option.name} -d ${single(option.describe)}`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Words that a reference may become, one on a line: what the scripts ask at each TAB. */
async function printWords(args: Arguments, { out }: CommandContext): Promise<void> {
  const settings = settingsFrom(args);
  const runtime = await openRuntime(settings, []);
  try {
    const words = await completeReference(typeof args['prefix'] === 'string' ? args['prefix'] : '', {
      content: runtime.content,
      registry: (host) => runtime.stores.registry(host),
      local: (location) => openLocalStore(location, settings),
    });
    for (const word of words) out.line(word);
  } finally {
    await runtime.close();
  }
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out } = context;
  const shell = String(args['shell']);
  if (shell === 'words') return printWords(args, context);
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
  usage: 'completion <shell> [prefix]',
  examples: [
    ['source <(imgfs completion bash)', 'in ~/.bashrc'],
    ['imgfs completion words ghcr.io/me/app:', 'what a shell asks: tags, from the cache and the registry'],
  ],
  options: (parser) =>
    storeOptions(parser)
      .positional('shell', {
        choices: ['bash', 'zsh', 'fish', 'words'] as const,
        demandOption: true,
        describe: 'which shell; words: what a reference may become',
      })
      .positional('prefix', { type: 'string', describe: 'words: what is typed so far' }),
  run,
};
