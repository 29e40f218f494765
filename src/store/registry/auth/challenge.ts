/**
 * `WWW-Authenticate` (RFC 9110 section 11.6.1): a list of challenges, each a list of parameters, in one header or in
 * several. Commas separate both, which is why it takes a parser and not a split.
 */

export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case; the first of a repeated name counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** More of either is not an answer but an attack; headers are capped at 32 KiB before. */
const maxChallenges = 16;
const maxParameters = 32;

class Scanner {
  readonly text: string;
  position = 0;

  constructor(text: string) {
    this.text = text;
  }

  get done(): boolean {
    return this.position >= this.text.length;
  }

  /** Take what `pattern` (sticky) matches here. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.position;
    const match = pattern.exec(this.text);
    if (match === null) return undefined;
    this.position = pattern.lastIndex;
    return match[1] ?? match[0];
  }
}

const separators = /[\s,]+/y;
const schemeToken = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const parameterName = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=(?!=*(?:\s*(?:,|$)))\s*/y;
const emptyParameter = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?=,|$)/y;
const quoted = /"((?:[^"\\]|\\[\s\S])*)(?:"|$)/y;
/** Wider than a token: `realm=https://host/token` without quotes is seen in the wild. */
const bare = /[^\s,"]+/y;

function takeParameter(scanner: Scanner): [string, string] | undefined {
  const empty = scanner.take(emptyParameter);
  if (empty !== undefined) return [empty.toLowerCase(), ''];
  const name = scanner.take(parameterName);
  if (name === undefined) return undefined;
  const string = scanner.take(quoted);
  if (string !== undefined) return [name.toLowerCase(), string.replace(/\\([\s\S])/g, '$1')];
  return [name.toLowerCase(), scanner.take(bare) ?? ''];
}

function parseOne(text: string, found: Challenge[]): void {
  const scanner = new Scanner(text);
  while (!scanner.done && found.length < maxChallenges) {
    scanner.take(separators);
    const scheme = scanner.take(schemeToken);
    if (scheme === undefined) {
      scanner.position += 1;
      continue;
    }
    const parameters = new Map<string, string>();
    for (let count = 0; count < maxParameters; count += 1) {
      const before = scanner.position;
      scanner.take(separators);
      const parameter = takeParameter(scanner);
      if (parameter === undefined) {
        scanner.position = before;
        break;
      }
      if (!parameters.has(parameter[0])) parameters.set(parameter[0], parameter[1]);
    }
    found.push({ scheme: scheme.toLowerCase(), parameters });
    // A token68 (`Negotiate YII=`) belongs to no scheme we speak: step over it.
    scanner.take(/\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))/y);
  }
}

/** All challenges of all headers, in order. Never throws: what cannot be read is left out. */
export function parseChallenges(values: readonly string[]): readonly Challenge[] {
  const found: Challenge[] = [];
  for (const value of values) parseOne(value, found);
  return found;
}
