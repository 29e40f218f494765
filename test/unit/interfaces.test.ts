/**
 * docs/INTERFACES.md is true: each row's library method is exported and documented, its command and options exist, its
 * test exists and is not skipped, and no method of the four interfaces lacks its row.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import yargs from 'yargs';
import { findVerb } from '../../src/cli/verbs.js';

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
  [/^skopeo/, 21],
  [/^regclient/, 18],
  [/^linuxkit/, 20],
  [/^distribution/, 31],
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

/** From a test's name to the next test of its file. */
function bodyOf(source: string, name: string): string {
  const rest = source.slice(source.indexOf(name));
  const end = rest.search(/\n\s*(?:test|it|describe)\(/);
  return end < 0 ? rest : rest.slice(0, end);
}

test('every test calls what it is to show: the library method, or the command', () => {
  for (const { method, library, command, test: cell } of rows()) {
    const colon = cell.indexOf(': ');
    const source = readFileSync(new URL(`test/${cell.slice(0, colon)}.test.ts`, root), 'utf8');
    const body = bodyOf(source, cell.slice(colon + 2));
    const member = library.replaceAll('`', '').split('.').at(-1) ?? '';
    const isType = /^[A-Z]/.test(member);
    const [, verb = '', action = verb] = command.replaceAll('`', '').split(' ');
    const shown = [
      new RegExp(isType ? member.slice(1) : `\\b${member}\\b`),
      new RegExp(`'${verb}'[^;]*'${action}'|'${action}'`),
    ];
    assert.ok(
      shown.some((wanted) => wanted.test(body)),
      `${method}: ${cell} calls neither ${library} nor ${command}`,
    );
    assert.match(body, /assert|rejects/, `${method}: ${cell} asserts nothing`);
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
