/**
 * docs/INTERFACES.md is true: each row's library method is exported and documented, its command and options exist, its
 * test exists and is not skipped, and no method of the four interfaces lacks its row.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import yargs from 'yargs';
import { findVerb, verbs } from '../../src/cli/verbs.js';

const root = new URL('../../../', import.meta.url);
const text = readFileSync(new URL('docs/INTERFACES.md', root), 'utf8');

interface Row {
  readonly section: string;
  readonly method: string;
  readonly library: string;
  readonly command: string;
  readonly path: string;
  readonly test: string;
}

function rows(): Row[] {
  let section = '';
  return text.split('\n').flatMap((line) => {
    if (line.startsWith('## ')) section = line.slice(3);
    const cells = line.split('|').map((cell) => cell.trim());
    if (!line.startsWith('|') || cells[1] === 'method' || /^-+$/.test(cells[1] ?? '')) return [];
    const [, method = '', library = '', command = '', path = '', name = ''] = cells;
    return [{ section, method, library, command, path, test: name }];
  });
}

/** How many methods each interface has, as counted in its source: fewer rows mean that some were dropped. */
const counted: readonly (readonly [section: RegExp, rows: number])[] = [
  [/^skopeo/, 22],
  [/^regclient/, 19],
  [/^linuxkit/, 21],
  [/^distribution/, 43],
];

test('no interface has lost a row, and no cell is empty', () => {
  for (const [section, number] of counted)
    assert.ok(rows().filter((row) => section.test(row.section)).length >= number, String(section));
  for (const row of rows())
    for (const [name, cell] of Object.entries(row))
      assert.match(cell, /\w/, `${row.method}: ${name} is empty`);
});

test('every library method is exported, and has a docstring', { timeout: 30_000 }, () => {
  const script = fileURLToPath(new URL('scripts/api-docs.mjs', root));
  const { stdout } = spawnSync(process.execPath, [script, '--json'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  const documented = JSON.parse(stdout) as Record<string, string>;
  for (const { method, library } of rows()) {
    const name = library.replaceAll('`', '');
    // A property says what it is by its type and its name; a method does not.
    assert.ok(name in documented, `${method}: ${name} is not exported`);
    const [owner = ''] = name.split('.');
    assert.ok(
      (documented[name] ?? '') !== '' || (documented[owner] ?? '') !== '',
      `${method}: ${name} has no docstring`,
    );
  }
});

interface Grammar {
  readonly options: readonly string[];
  readonly actions: readonly string[];
}

async function grammarOf(name: string): Promise<Grammar | undefined> {
  const command = await findVerb(name)?.load();
  if (command === undefined) return undefined;
  const parser = command.options(yargs([]).help(false).version(false)) as unknown as {
    getOptions(): { key: Record<string, unknown>; choices: Record<string, readonly string[]> };
  };
  const { key, choices } = parser.getOptions();
  return { options: [...Object.keys(key), 'json'], actions: choices['action'] ?? [] };
}

test('every command exists, with its action and its options', { timeout: 60_000 }, async () => {
  for (const { method, command } of rows()) {
    const [program, verb = '', ...words] = command.replaceAll('`', '').split(' ');
    const grammar = await grammarOf(verb);
    assert.ok(program === 'imgfs' && grammar !== undefined, `${method}: ${command} is no command`);
    for (const word of words) {
      const known = word.startsWith('--')
        ? grammar.options.includes(word.slice(2))
        : grammar.actions.includes(word);
      assert.ok(known, `${method}: ${command} does not know ${word}`);
    }
  }
});

/** From a test's name to the next test of its file, without comments and without what stands in quotes. */
function bodyOf(source: string, name: string): string {
  const rest = source.slice(source.indexOf(name) + name.length);
  const end = rest.search(/\n\s*(?:test|it|describe)\(/);
  return (end < 0 ? rest : rest.slice(0, end))
    .replace(/\/\*[^]*?\*\/|\/\/.*/g, '')
    .replace(/'(?:[^'\\\n]|\\.)*'/g, "''");
}

test('every test calls the library method that it is to show, and asserts something', () => {
  for (const { method, library, test: cell } of rows()) {
    const colon = cell.indexOf(': ');
    const source = readFileSync(new URL(`test/${cell.slice(0, colon)}.test.ts`, root), 'utf8');
    const body = bodyOf(source, cell.slice(colon + 2));
    const [owner = '', member] = library.replaceAll('`', '').split('.');
    const wanted =
      member === undefined
        ? // A function, or a type that a value of its name has: `gitPackageResolver`.
          new RegExp(`${owner.slice(1)}\\(`)
        : new RegExp(`\\.${member}\\b|[{,]\\s*${member}\\b\\s*[:,}]`);
    assert.match(body, wanted, `${method}: ${cell} does not call ${library}`);
    assert.match(body, /assert/, `${method}: ${cell} asserts nothing`);
  }
});

/** What is run somewhere: the examples of `--help`, which a test runs as they stand, and words of calls in tests. */
async function linesThatRun(): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const { load } of verbs) for (const [line] of (await load()).examples ?? []) lines.push(line);
  for (const folder of ['command', 'mount', 'wire'])
    for (const name of readdirSync(new URL(`test/${folder}/`, root))) {
      const source = readFileSync(new URL(`test/${folder}/${name}`, root), 'utf8');
      // Words of one call stand in one statement.
      for (const statement of source.split(';'))
        lines.push([...statement.matchAll(/'([^'\n]*)'/g)].map(([, word]) => word).join(' '));
    }
  return lines;
}

test('every command is run by a test or as an example, with its action and its options', async () => {
  const lines = (await linesThatRun()).map((line) => new Set(line.split(' ')));
  for (const { method, command } of rows()) {
    const [, verb = '', ...words] = command.replaceAll('`', '').split(' ');
    const actions = words.filter((word) => !word.startsWith('--'));
    for (const option of [undefined, ...words.filter((word) => word.startsWith('--'))]) {
      const wanted = [verb, ...actions, ...(option === undefined ? [] : [option])];
      const isRun = lines.some((line) => wanted.every((word) => line.has(word)));
      assert.ok(isRun, `${method}: nobody runs imgfs ${wanted.join(' ')}`);
    }
  }
});

test('every test exists, and is not skipped', () => {
  for (const { method, test: cell } of rows()) {
    const colon = cell.indexOf(': ');
    const [file, name] = [cell.slice(0, colon), cell.slice(colon + 2)];
    const source = readFileSync(new URL(`test/${file}.test.ts`, root), 'utf8');
    const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const match = new RegExp(`test(\\.\\w+)?\\(\\s*['"\`]${escaped}['"\`],\\s*([^\\n]*)`).exec(source);
    assert.doesNotMatch(
      source,
      /\b(?:describe|test|it)\.(?:skip|todo|only)\b|skip: true/,
      `${file} leaves tests out`,
    );
    assert.ok(match !== null, `${method}: there is no test ${JSON.stringify(name)} in ${file}`);
    assert.equal(match[1], undefined, `${method}: ${name} is skipped or not done`);
    assert.doesNotMatch(match[2] ?? '', /skip: true|todo/, `${method}: ${name} is skipped`);
  }
});
