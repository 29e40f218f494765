// API documentation out of the declarations that the compiler writes (dist/src/**/*.d.ts keep docstrings), for
// everything that src/index.ts exports. TypeScript 7 has no JavaScript API that a documentation tool could use.
//
//   node scripts/api-docs.mjs                 write dist/docs/api.md
//   node scripts/api-docs.mjs --check         fail and name what has no docstring
//   node scripts/api-docs.mjs --json          every documented name and its docstring
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'dist', 'src');

/** Statements of a declaration file at one depth, each with the docstring before it. */
function statements(text, indent) {
  const found = [];
  let doc;
  let comment;
  let current;
  for (const line of text.split('\n')) {
    const depth = line.length - line.trimStart().length;
    if (comment !== undefined) {
      comment.push(line);
      if (line.includes('*/')) [doc, comment] = [comment.join('\n'), undefined];
    } else if (current !== undefined) {
      current.text += `\n${line}`;
      if (depth === indent && /^\s*[}\])]/.test(line)) current = undefined;
    } else if (depth === indent && line.trimStart().startsWith('/**')) {
      if (line.includes('*/')) doc = line;
      else comment = [line];
    } else if (depth === indent && line.trim() !== '') {
      const statement = { doc: cleaned(doc), text: line };
      found.push(statement);
      doc = undefined;
      if (/[{([]$/.test(line) || /[=|]\s*$/.test(line)) current = statement;
    }
  }
  return found;
}

function cleaned(doc) {
  if (doc === undefined) return undefined;
  return doc
    .replace(/^\s*\/\*\*\s?/, '')
    .replace(/\s*\*\/\s*$/, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\*\s?/, ''))
    .join('\n')
    .trim();
}

const kinds = /^export (?:declare )?(?:abstract )?(class|interface|function|const|type) ([A-Za-z0-9_]+)/;

/** The declarations leave out the head of a file when the import behind it is not needed. */
const sourceOf = (path) => join(root, 'src', relative(source, path).replace(/\.d\.ts$/, '.ts'));

/** Exports of one file by name: kind, docstring, text, file. */
function exportsOf(path) {
  const found = new Map();
  const text = readFileSync(path, 'utf8');
  // One exported idea per file: what stands at the head of a file is about its class.
  const head = cleaned(/^\/\*\*[\s\S]*?\*\//.exec(readFileSync(sourceOf(path), 'utf8'))?.[0]);
  for (const { doc: own, text: body } of statements(text, 0)) {
    const [, kind, name] = kinds.exec(body) ?? [];
    const doc = own ?? (kind === 'class' ? head : undefined);
    if (name !== undefined) found.set(name, { kind, name, doc, body, file: relative(source, path) });
    const again = /^export (?:type )?(\*|\{[\s\S]*\}) from '(.+)\.js';/.exec(body);
    if (again === null) continue;
    const inner = exportsOf(join(dirname(path), `${again[2]}.d.ts`));
    const names =
      again[1] === '*'
        ? [...inner.keys()]
        : [...again[1].matchAll(/(?:type )?([A-Za-z0-9_]+)\s*[,}]/g)].map((m) => m[1]);
    for (const each of names) if (inner.has(each)) found.set(each, inner.get(each));
  }
  return found;
}

/** Public members of a class or interface: methods, accessors and properties. */
function membersOf({ kind, body }) {
  if (kind !== 'class' && kind !== 'interface') return [];
  const inner = body.split('\n').slice(1).join('\n');
  return statements(inner, 4).flatMap(({ doc, text }) => {
    const line = text.trim();
    if (/^(private|protected|#|constructor\b)/.test(line)) return [];
    const member =
      /^(?:static )?(?:readonly )?(?:(get|set) )?(?:async )?\*?(\[Symbol\.[a-zA-Z]+\]|[A-Za-z0-9_]+)\??(<[^(]*>)?(\(|:)/.exec(
        line,
      );
    if (member === null) return [];
    return [{ name: member[2], doc, text: line, callable: member[1] !== undefined || member[4] === '(' }];
  });
}

/** Names of what a class implements, or an interface extends. */
function parents(body) {
  const head = body.split('\n')[0] ?? '';
  return [...(/(?:implements|extends) ([^{]+)\{/.exec(head)?.[1] ?? '').matchAll(/[A-Za-z0-9_]+/g)].map(
    (match) => match[0],
  );
}

const all = exportsOf(join(source, 'index.d.ts'));

/** The docstring of a member where an interface above declares it, the nearest first; undefined when none has one. */
function inheritedDoc(body, name) {
  for (const parent of parents(body).flatMap((parentName) => all.get(parentName) ?? [])) {
    const own = membersOf(parent).find((member) => member.name === name)?.doc;
    const doc = own ?? inheritedDoc(parent.body, name);
    if (doc !== undefined) return doc;
  }
  return undefined;
}

const documented = {};
const missing = [];
for (const one of all.values()) {
  documented[one.name] = one.doc ?? '';
  if (one.doc === undefined) missing.push(`${one.file}: ${one.kind} ${one.name}`);
  for (const member of membersOf(one)) {
    // Docstrings come down from an interface, as in every documentation tool.
    const doc = member.doc ?? inheritedDoc(one.body, member.name);
    documented[`${one.name}.${member.name}`] = doc ?? '';
    member.doc = doc;
    if (doc === undefined && member.callable && !member.name.startsWith('['))
      missing.push(`${one.file}: ${one.name}.${member.name}`);
  }
}

const words = new Set(process.argv.slice(2));
if (words.has('--json')) {
  process.stdout.write(`${JSON.stringify(documented)}\n`);
} else if (words.has('--check')) {
  for (const line of missing) console.error(`no docstring: ${line}`);
  if (missing.length > 0) process.exit(1);
  console.log(`${Object.keys(documented).length} names, each exported one documented`);
} else {
  const lines = ['# imgfs as a library', ''];
  for (const one of [...all.values()].sort((a, b) => a.name.localeCompare(b.name))) {
    lines.push(`## ${one.name}`, '', `${one.kind}, \`${one.file}\``, '', one.doc ?? '', '');
    const members = membersOf(one);
    if (members.length === 0) lines.push('```ts', one.body.trim(), '```', '');
    for (const { text, doc } of members) lines.push('```ts', text, '```', '', documentedText(doc), '');
  }
  const target = join(root, 'dist', 'docs', 'api.md');
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, lines.join('\n'));
  console.log(`wrote ${relative(root, target)}: ${all.size} exports`);
}

function documentedText(doc) {
  return doc ?? '';
}
