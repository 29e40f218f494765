/**
 * Structured log: one JSON line per event on stderr, or nothing.
 *
 * `IMGFS_LOG=debug` or `IMGFS_LOG=info,registry=debug` chooses levels per room. The default is `warn`.
 * Values are printed as given: callers redact (errors/imgfs-error.ts `redactUrl`).
 */
import { writeSync } from 'node:fs';
import { escapeControl } from '../errors/imgfs-error.js';

const levels = ['debug', 'info', 'warn', 'error', 'off'] as const;
export type LogLevel = (typeof levels)[number];

export interface Logger {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

export type LogSink = (line: string) => void;

let sink: LogSink = (line) => {
  try {
    writeSync(2, `${line}\n`);
  } catch {
    // A closed or full stderr must not end a mount.
  }
};

/** Send log lines somewhere else (the daemon's log file, a test). Returns the sink before. */
export function setLogSink(next: LogSink): LogSink {
  const before = sink;
  sink = next;
  return before;
}

function isLevel(text: string | undefined): text is LogLevel {
  return (levels as readonly (string | undefined)[]).includes(text);
}

function parseLevels(specification: string): { fallback: LogLevel; rooms: Map<string, LogLevel> } {
  let fallback: LogLevel = 'warn';
  const rooms = new Map<string, LogLevel>();
  for (const part of specification.split(',')) {
    const [left, right] = part.split('=', 2);
    if (right === undefined && isLevel(left)) fallback = left;
    else if (left !== undefined && isLevel(right)) rooms.set(left, right);
  }
  return { fallback, rooms };
}

let chosen = parseLevels(process.env['IMGFS_LOG'] ?? '');

/** Change levels while running, in the grammar of `IMGFS_LOG`. */
export function setLogLevels(specification: string): void {
  chosen = parseLevels(specification);
}

/** A logger for one room. Cheap: make it once per module. */
export function createLogger(room: string): Logger {
  const write = (level: LogLevel, message: string, fields?: Record<string, unknown>): void => {
    const threshold = chosen.rooms.get(room) ?? chosen.fallback;
    if (levels.indexOf(level) < levels.indexOf(threshold)) return;
    const record = { time: new Date().toISOString(), level, room, message, ...fields };
    sink(escapeControl(JSON.stringify(record)));
  };
  return {
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
  };
}
