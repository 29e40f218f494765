/**
 * File names out of texts that anyone may have written: titles of artifact layers, platform names.
 *
 * Reversible: `%` begins an escape and is escaped itself. `%XX` is a byte of UTF-8; a lone `%` is the empty text;
 * `%~` begins what was added to make a name short enough or different from its neighbours, which no text can
 * contain. The exact title is also in the file's `user.oci.title`.
 */
import { createHash } from 'node:crypto';
import { maxNameBytes, nameFromText, type Name } from './name.js';

/** Control characters, separators and the marks that turn the direction of writing: unsafe to print. */
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const unsafe = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069%/]/gu;

/** A directory deeper than this cannot be meant; the rest of the path becomes part of one name. */
const maxDepth = 64;

function escapeCharacter(character: string): string {
  return [...Buffer.from(character, 'utf8')]
    .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
    .join('');
}

/** One path component that stands for `text` and for nothing else. */
export function safeComponent(text: string): Name {
  if (text === '') return nameFromText('%');
  if (text === '.' || text === '..') return nameFromText(text.replaceAll('.', '%2E'));
  return shorten(text.replace(unsafe, escapeCharacter), text);
}

/** The components of a title, split at slashes. Never empty; none is `.`, `..` or empty. */
export function safePath(title: string): readonly Name[] {
  const parts = title.split('/');
  const kept =
    parts.length <= maxDepth ? parts : [...parts.slice(0, maxDepth - 1), parts.slice(maxDepth - 1).join('/')];
  return kept.map(safeComponent);
}

/** The name with a number that no escaped text can end in, still short enough. */
export function numberedName(name: Name, number: number): Name {
  const suffix = `%~${number}`;
  return `${cut(name, maxNameBytes - suffix.length)}${suffix}` as Name;
}

function shorten(escaped: string, text: string): Name {
  const name = nameFromText(escaped);
  if (name.length <= maxNameBytes) return name;
  const suffix = `%~${createHash('sha256').update(text).digest('hex').slice(0, 12)}`;
  return `${cut(name, maxNameBytes - suffix.length)}${suffix}` as Name;
}

/** Cut bytes off without splitting an escape or a character of UTF-8. */
function cut(name: string, length: number): string {
  if (name.length <= length) return name;
  let end = length;
  while (end > 0 && (name.charCodeAt(end) & 0xc0) === 0x80) end -= 1;
  return name.slice(0, end).replace(/%[0-9A-F]?$/, '');
}
