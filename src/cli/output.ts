/** Writing to the terminal or to a pipe: text or JSON, colour only where it helps, control characters escaped. */
import { describeError, escapeControl, toImgfsError } from '../errors/imgfs-error.js';

export interface Output {
  readonly json: boolean;
  /** True when stdout is a terminal and NO_COLOR is not set. */
  readonly color: boolean;
  /** True when stderr is a terminal: progress may be drawn there. */
  readonly interactive: boolean;
  /** Text without control characters, for `bytes`. */
  printable(text: string): string;
  /** One line of text on stdout; control characters are escaped. */
  line(text: string): void;
  /** Bytes on stdout, as they are; resolves when the pipe has room again. */
  bytes(chunk: Uint8Array): Promise<void>;
  /** One JSON document on stdout: indented on a terminal, one line otherwise. */
  document(value: unknown): void;
  /** A note on stderr: never part of the result. */
  note(text: string): void;
  /** An error on stderr, with its next step. */
  error(error: unknown): void;
}

const styles = { bold: '1', red: '31', green: '32', yellow: '33', dim: '2' } as const;

export type Style = keyof typeof styles;

/** `text` in colour when `on`. */
export function styled(text: string, style: Style, on: boolean): string {
  return on ? `\u001b[${styles[style]}m${text}\u001b[0m` : text;
}

/** An error as a JSON value: for `--json` and for scripts. */
export function errorDocument(error: unknown): object {
  const known = toImgfsError(error);
  return {
    error: {
      code: known.code,
      message: known.message,
      ...known.context,
      ...(known.hint === undefined ? {} : { hint: known.hint }),
    },
  };
}

/** Output on this process's own streams. */
export function createOutput(options: { readonly json: boolean }): Output {
  const noColor = (process.env['NO_COLOR'] ?? '') !== '';
  const color = process.stdout.isTTY && !noColor;
  const errorColor = process.stderr.isTTY && !noColor;
  const write = (text: string): void => void process.stdout.write(text);
  return {
    json: options.json,
    color,
    interactive: process.stderr.isTTY,
    printable: escapeControl,
    line: (text) => write(`${color ? escapeExceptStyle(text) : escapeControl(text)}\n`),
    bytes: (chunk) =>
      new Promise((resolve, reject) => {
        const room = process.stdout.write(chunk, (error) => {
          if (error) reject(error);
        });
        if (room) resolve();
        else process.stdout.once('drain', resolve);
      }),
    document: (value) => write(`${JSON.stringify(value, undefined, process.stdout.isTTY ? 2 : undefined)}\n`),
    note: (text) => void process.stderr.write(`${escapeControl(text)}\n`),
    error: (error) => {
      if (options.json) {
        process.stderr.write(`${JSON.stringify(errorDocument(error))}\n`);
        return;
      }
      const [first = '', ...rest] = describeError(error).split('\n');
      process.stderr.write(
        `${styled('imgfs:', 'red', errorColor)} ${[first, ...rest.map((line) => `  ${line}`)].join('\n')}\n`,
      );
    },
  };
}

const colorSequences = [0, ...Object.values(styles)].map((code) => `\u001b[${code}m`);

/** Control characters escaped, our own colour sequences put back. */
function escapeExceptStyle(text: string): string {
  return colorSequences.reduce(
    (escaped, sequence) => escaped.replaceAll(escapeControl(sequence), sequence),
    escapeControl(text),
  );
}

/** Rows as columns: padded to the widest cell, last column free. */
export function formatTable(
  rows: readonly (readonly string[])[],
  rightAligned: ReadonlySet<number> = new Set(),
): string[] {
  const widths: number[] = [];
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return rows.map((row) =>
    row
      .map((cell, i) => {
        const width = widths[i] ?? 0;
        if (rightAligned.has(i)) return cell.padStart(width);
        return i === row.length - 1 ? cell : cell.padEnd(width);
      })
      .join('  '),
  );
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** Bytes for people: `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? 'B'}`;
}

/**
 * Bytes from what a person writes: `10GiB`, `500M`, `4096`. K, M, G, T are powers of 1024, as in `du`.
 * Undefined when it is not a size.
 */
export function parseBytes(text: string): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  if (match === null) return undefined;
  const power = ['', 'K', 'M', 'G', 'T'].indexOf((match[2] ?? '').toUpperCase());
  const bytes = Math.round(Number(match[1]) * 1024 ** power);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/**
 * Milliseconds from what a person writes: `60s`, `5m`, `250ms`, `0`; a bare number is seconds.
 * Undefined when it is not a duration.
 */
export function parseDuration(text: string): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?$/.exec(text.trim());
  if (match === null) return undefined;
  const factor = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] ?? 's'] ?? 1_000;
  return Number(match[1]) * factor;
}
