// Runs after tsc: makes the command executable, as npm's bin links expect, and writes the manual page.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const main = new URL('../dist/src/cli/main.js', import.meta.url);
if (existsSync(main)) chmodSync(main, 0o755);

const page = new URL('../dist/src/cli/man-page.js', import.meta.url);
if (existsSync(page)) {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const { renderManPage } = await import(page.href);
  const folder = new URL('../dist/man/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  writeFileSync(new URL('imgfs.1', folder), await renderManPage(version));
}
