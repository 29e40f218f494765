/**
 * Names that programs look for in every directory they come by: file managers, indexers, shells, build tools. They
 * are answered without a request, and are no registries although some look like host names.
 */
import { isRegistryHost } from '../oci/reference.js';

const desktopProbes = new Set([
  'autorun.inf',
  'desktop.ini',
  'thumbs.db',
  'folder.jpg',
  'folder.png',
  'cover.jpg',
  'appdir',
  'apprun',
  'lost+found',
  'system volume information',
  'mimeapps.list',
]);

/**
 * Suffixes of files that tools look for upwards of where they work (`package.json`, `pom.xml`, `.editorconfig`), and
 * that are no top-level domains: `md`, `sh`, `rs`, `py`, `zip` are, and stay hosts.
 */
const fileSuffixes = new Set(
  (
    'bak bat bin cfg cmd conf config csproj csv dat db desktop directory dll doc exe gif gitignore htm html ico ' +
    'inf ini ipynb jar jpeg jpg js json jsonc json5 jsx key lnk lock log lua pdf pem png properties rb rc rst sln ' +
    'sqlite svg swp sys tmp toml ts tsx txt vbs wasm webp xml yaml yml'
  ).split(' '),
);

/** True for a name that only a program walking by asks for. Never true for a legal thing of that name elsewhere. */
export function isDesktopProbe(name: string): boolean {
  return name.startsWith('.') || desktopProbes.has(name.toLowerCase());
}

/**
 * True for a name at the root that can be a registry. A name with a port always is one; without, a name like
 * `package.json` is a file that somebody looked for.
 */
export function isRegistryName(name: string): boolean {
  if (!isRegistryHost(name) || isDesktopProbe(name)) return false;
  if (name.includes(':') || name === 'localhost') return true;
  const suffix = name.slice(name.lastIndexOf('.') + 1).toLowerCase();
  return !fileSuffixes.has(suffix);
}
