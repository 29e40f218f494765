// Runs after tsc: makes the command executable, as npm's bin links expect.
import { chmodSync, existsSync } from 'node:fs';

const main = new URL('../dist/src/cli/main.js', import.meta.url);
if (existsSync(main)) chmodSync(main, 0o755);
