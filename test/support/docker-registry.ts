/** Debian's docker-registry (distribution 2.8.2) on a free loopback port: the second server that tests run against. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { keep, mustRun } from './child.js';
import { makeTempDir, removeTempDir } from './temp.js';

export interface DockerRegistryOptions {
  /** Basic auth with these users. Needs the command `htpasswd` of apache2-utils. */
  readonly users?: Readonly<Record<string, string>>;
  /** Default true. */
  readonly deletes?: boolean;
  /** PEM files, to serve https. */
  readonly tls?: { readonly certificatePath: string; readonly keyPath: string };
}

export interface DockerRegistry {
  /** `127.0.0.1:port`. */
  readonly host: string;
  readonly url: string;
  /** Its storage root, to look at or to damage. */
  readonly directory: string;
  log(): string;
  /** Stop the server; its files stay until `close`. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** Time for the server to say where it listens; measured 50 ms on an idle machine. */
const startTimeoutMs = 20_000;

async function htpasswd(directory: string, users: Readonly<Record<string, string>>): Promise<string> {
  const path = join(directory, 'htpasswd');
  const lines: string[] = [];
  for (const [name, password] of Object.entries(users)) {
    // distribution takes bcrypt only, and openssl has none: `htpasswd -B` of apache2-utils makes it.
    const { stdout } = await mustRun('htpasswd', ['-nbB', name, password]);
    lines.push(stdout.trim());
  }
  await writeFile(path, `${lines.join('\n')}\n`);
  return path;
}

/** Start it with an empty store. Uses the command `docker-registry`. */
export async function startDockerRegistry(options: DockerRegistryOptions = {}): Promise<DockerRegistry> {
  const directory = await makeTempDir('docker-registry');
  const { tls, users } = options;
  const configuration = {
    version: 0.1,
    log: { level: 'info' },
    storage: {
      filesystem: { rootdirectory: join(directory, 'store') },
      delete: { enabled: options.deletes ?? true },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: {
      addr: '127.0.0.1:0',
      ...(tls === undefined ? {} : { tls: { certificate: tls.certificatePath, key: tls.keyPath } }),
    },
    ...(users === undefined
      ? {}
      : { auth: { htpasswd: { realm: 'test', path: await htpasswd(directory, users) } } }),
  };
  // JSON is YAML.
  const path = join(directory, 'config.yml');
  await writeFile(path, JSON.stringify(configuration));
  const server = keep('docker-registry', ['serve', path]);
  const close = async (): Promise<void> => {
    await server.stop();
    await removeTempDir(directory);
  };
  try {
    const [, host = ''] = await server.waitFor(/listening on (127\.0\.0\.1:\d+)/, startTimeoutMs);
    return {
      host,
      url: `${tls === undefined ? 'http' : 'https'}://${host}`,
      directory,
      log: () => server.output(),
      stop: () => server.stop(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
