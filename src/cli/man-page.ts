/** imgfs(1) in the man macros (groff_man(7)), out of the same tables that `--help` is made of. */
import { exitCodes } from '../errors/codes.js';
import { firstExamples, groupTitles, referenceText } from './help.js';
import { wordsOf, type OptionWord } from './option-words.js';
import { verbs, type Verb } from './verbs.js';

/** A dash is a minus, a backslash and a dot at the beginning of a line mean something in troff. */
function roff(text: string): string {
  return text
    .replace(/\\/g, '\\e')
    .replace(/-/g, '\\-')
    .replace(/^([.'])/gm, '\\&$1')
    .replace(/…/g, '...');
}

const optionKey = ({ name, takesValue, choices }: OptionWord): string =>
  takesValue ? `--${name} ${choices.length > 0 ? choices.join('|') : 'VALUE'}` : `--${name}`;

function optionLines(option: OptionWord): string[] {
  const fallback = option.fallback === undefined ? '' : ` (default: ${option.fallback})`;
  return ['.TP', `.B ${roff(optionKey(option))}`, roff(`${option.describe}${fallback}`)];
}

/** Options that most verbs have are described once. */
async function commonOptions(): Promise<ReadonlyMap<string, OptionWord>> {
  const counts = new Map<string, { option: OptionWord; count: number }>();
  for (const verb of verbs) {
    for (const option of wordsOf(await verb.load()).options) {
      const key = `${option.name}\0${option.describe}`;
      counts.set(key, { option, count: (counts.get(key)?.count ?? 0) + 1 });
    }
  }
  const common = [...counts.values()].filter(({ count }) => count > verbs.length / 2);
  return new Map(common.map(({ option }) => [option.name, option]));
}

async function verbLines(verb: Verb, common: ReadonlyMap<string, OptionWord>): Promise<string[]> {
  const command = await verb.load();
  const { options } = wordsOf(command);
  const lines = ['.SS', roff(`imgfs ${command.usage}`), roff(`${verb.summary}.`)];
  for (const option of options)
    if (common.get(option.name)?.describe !== option.describe) lines.push(...optionLines(option));
  for (const [example, meaning] of command.examples ?? [])
    lines.push('.PP', roff(`${meaning}:`), '.EX', roff(`  ${example}`), '.EE');
  return lines;
}

const exitMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: 'done',
  other: 'failed for a reason that is none of the others',
  usage: 'the words of the command were wrong',
  notFound: 'there is no such thing, on the word of the store',
  auth: 'not allowed: log in, or ask who administers it; a policy that rejects',
  retryable: 'no answer: try again later',
  integrity: 'the bytes are not what their digest says',
  mountUnavailable: 'the mount is not possible here',
};

/** The whole page. @param version of the package. */
export async function renderManPage(version: string): Promise<string> {
  const common = await commonOptions();
  const lines = [
    `.TH IMGFS 1 "" "imgfs ${version}" "User Commands"`,
    '.SH NAME',
    'imgfs \\- container image stores as directories',
    '.SH SYNOPSIS',
    '.B imgfs',
    '.I VERB',
    '[options]',
    '.SH DESCRIPTION',
    'imgfs mounts registries, OCI layouts and image archives as ordinary directories: lazily fetched, verified, cached, and',
    'writable. Every verb works without a mount too.',
    '.PP',
    ...roff(referenceText).split('\n'),
  ];
  for (const [group, title] of Object.entries(groupTitles)) {
    lines.push(`.SH ${title.toUpperCase()}`);
    for (const verb of verbs.filter((each) => each.group === group))
      lines.push(...(await verbLines(verb, common)));
  }
  lines.push('.SH COMMON OPTIONS');
  for (const option of common.values()) lines.push(...optionLines(option));
  lines.push('.TP', '.B \\-\\-json', 'print JSON, one document or one per line');
  lines.push('.SH EXIT STATUS');
  for (const [name, code] of Object.entries(exitCodes))
    lines.push('.TP', `.B ${code}`, roff(exitMeanings[name as keyof typeof exitCodes]));
  lines.push('.SH EXAMPLES');
  for (const [command, meaning] of firstExamples)
    lines.push('.PP', roff(`${meaning}:`), '.EX', roff(`  ${command}`), '.EE');
  lines.push(
    '.SH SEE ALSO',
    'skopeo(1), containers\\-auth.json(5), containers\\-policy.json(5), containers\\-registries.d(5)',
  );
  return `${lines.filter((line) => line !== '').join('\n')}\n`;
}
