/** skopeo, the second client: pushes, copies and inspects independently of our code. */
import { join } from 'node:path';
import { mustRun } from './child.js';
import { makeTempDir, removeTempDir } from './temp.js';

export interface SkopeoOptions {
  readonly authFile?: string;
  /** Copy all platforms of an index. */
  readonly all?: boolean;
  /** Convert the manifest: `oci`, `v2s2`. */
  readonly format?: 'oci' | 'v2s2';
  /** Further words of the subcommand. */
  readonly extra?: readonly string[];
}

/** Copying a small image takes 100 to 300 ms; this is for a busy machine. */
const timeoutMs = 120_000;

/** Run a subcommand with no files of the user involved; resolves to its stdout. */
async function skopeo(parameters: readonly string[], options: SkopeoOptions): Promise<string> {
  const home = await makeTempDir('skopeo');
  try {
    const { stdout } = await mustRun('skopeo', ['--insecure-policy', ...parameters], {
      env: {
        HOME: home,
        XDG_RUNTIME_DIR: home,
        REGISTRY_AUTH_FILE: options.authFile ?? join(home, 'auth.json'),
      },
      timeoutMs,
    });
    return stdout;
  } finally {
    await removeTempDir(home);
  }
}

/** `skopeo copy`; TLS is not verified. Names are skopeo's: `docker://…`, `oci:path:tag`, `docker-archive:…`. */
export async function skopeoCopy(from: string, to: string, options: SkopeoOptions = {}): Promise<void> {
  const flags = ['--src-tls-verify=false', '--dest-tls-verify=false'];
  if (options.all === true) flags.push('--all');
  if (options.format !== undefined) flags.push('--format', options.format);
  await skopeo(['copy', '-q', ...flags, ...(options.extra ?? []), from, to], options);
}

/** `skopeo inspect`, parsed. */
export async function skopeoInspect(
  name: string,
  options: SkopeoOptions = {},
): Promise<Record<string, unknown>> {
  const flags = name.startsWith('docker://') ? ['--tls-verify=false'] : [];
  const text = await skopeo(['inspect', ...flags, ...(options.extra ?? []), name], options);
  return JSON.parse(text) as Record<string, unknown>;
}

/** Exact bytes of the manifest as skopeo sees it. */
export async function skopeoRawManifest(name: string, options: SkopeoOptions = {}): Promise<string> {
  const flags = name.startsWith('docker://') ? ['--tls-verify=false'] : [];
  return skopeo(['inspect', '--raw', ...flags, name], options);
}
