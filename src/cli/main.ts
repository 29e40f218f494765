#!/usr/bin/env node
/**
 * Entry of the `imgfs` command. Whatever needs no verb is answered here without loading anything: importing
 * yargs alone costs more than all of Node's own start.
 */
import { readFileSync } from 'node:fs';

/** Version of the installed package. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

const words = process.argv.slice(2);
if (words.length === 1 && (words[0] === '--version' || words[0] === '-V')) {
  process.stdout.write(`imgfs ${packageVersion()}\n`);
} else {
  const { run } = await import('./run.js');
  process.exitCode = await run(words, packageVersion());
}
