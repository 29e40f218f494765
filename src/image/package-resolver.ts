/**
 * `@pkg:<path>` in templates (linuxkit's moby YAML): a source directory stands for the image that is built from it. Its
 * tag is the hash of its git tree, so that the same sources are the same image.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { ImgfsError } from '../errors/imgfs-error.js';
import { formatReference, parseReference } from '../oci/reference.js';
import type { CallOptions } from '../store/store.js';

/** From the path behind `@pkg:` to the reference it stands for. @throws ImgfsError `not-found`, `config`. */
export type PackageResolver = (path: string, options?: CallOptions) => Promise<string>;

/** How sources become names. */
export interface GitPackageOptions {
  /** Paths are relative to it. */
  readonly directory: string;
  /** Namespace of images whose `build.yml` names none; default `linuxkit`. */
  readonly organization?: string;
}

const marker = /@pkg:([A-Za-z0-9._/-]+)/g;
const gitTimeoutMs = 20_000;

/** True for text that is a package and nothing else. */
export function isPackage(text: string): boolean {
  return /^@pkg:[A-Za-z0-9._/-]+$/.test(text);
}

/** Put references in the places of packages; each path is resolved once. @throws what the resolver throws. */
export async function resolvePackages(
  template: string,
  resolver: PackageResolver,
  options: CallOptions = {},
): Promise<string> {
  const paths = new Set([...template.matchAll(marker)].map(([, path = '']) => path));
  const references = new Map<string, string>();
  for (const path of paths) references.set(path, await resolver(path, options));
  return template.replace(marker, (whole, path: string) => references.get(path) ?? whole);
}

/**
 * Packages as directories of a git work tree: `<organization>/<image>:<tree hash>`, with `-dirty` where files differ
 * from the commit. `build.yml` may say `org:`, `image:` and `tag:`, as linuxkit's does.
 */
export function gitPackageResolver({
  directory,
  organization = 'linuxkit',
}: GitPackageOptions): PackageResolver {
  return async (path, options = {}) => {
    const folder = resolve(directory, path);
    const build = await readBuildFile(folder);
    const image = build.get('image') ?? basename(folder);
    const tag = build.get('tag') ?? (await treeHash(folder, options));
    const name = `${build.get('org') ?? organization}/${image}:${tag}`;
    return formatReference(parseReference(name));
  };
}

/** Plain `key: value` lines at the beginning of lines; everything else of the file is for whoever builds. */
async function readBuildFile(folder: string): Promise<ReadonlyMap<string, string>> {
  const path = join(folder, 'build.yml');
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw new ImgfsError('config', `read package ${path}: ${error.code ?? 'it cannot be read'}`, {
      path,
      cause: error,
    });
  });
  const lines = text.matchAll(/^(org|image|tag):[ \t]*["']?([A-Za-z0-9._/-]+)["']?[ \t]*(?:#.*)?$/gm);
  return new Map([...lines].map(([, key = '', value = '']) => [key, value]));
}

async function treeHash(folder: string, options: CallOptions): Promise<string> {
  const tree = (await git(folder, ['rev-parse', '--verify', 'HEAD:./'], options)).trim();
  if (!/^[0-9a-f]{40,64}$/.test(tree))
    throw new ImgfsError('not-found', `resolve package ${folder}: git knows no tree of it`, { path: folder });
  const changes = await git(folder, ['status', '--porcelain', '--', '.'], options);
  return changes.trim() === '' ? tree : `${tree}-dirty`;
}

function git(folder: string, words: readonly string[], { signal }: CallOptions): Promise<string> {
  return new Promise((done, fail) => {
    const settings = {
      timeout: gitTimeoutMs,
      maxBuffer: 16 * 1024 * 1024,
      ...(signal === undefined ? {} : { signal }),
    };
    execFile('git', ['-C', folder, ...words], settings, (error, stdout, stderr) => {
      if (error === null) return done(stdout);
      const why = stderr.trim().split('\n')[0] ?? '';
      fail(
        new ImgfsError('not-found', `resolve package ${folder}: ${why === '' ? error.message : why}`, {
          path: folder,
          cause: error,
          hint: 'a package is a committed directory of a git work tree, or has a tag in its build.yml',
        }),
      );
    });
  });
}
