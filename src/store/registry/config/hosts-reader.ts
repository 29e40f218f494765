/** hosts.toml of this machine: which folder speaks for a registry, with the certificates its file names. */
import { dirname, join } from 'node:path';
import type { CertificateReader, ClientPair, HostCertificates } from './certs-d.js';
import { systemPath, type Environment } from './environment.js';
import { createFileMemo, type FileMemo } from './file-memo.js';
import { parseHostsToml, type HostEntry, type HostsToml } from './hosts-toml.js';
import { checkKeyPair, parseCertificates, type CertificateBundle } from './pem.js';
import { readConfigFile, stampFile, unusable } from './read-file.js';

/** A host of hosts.toml with its files read. */
export interface ReadyHost {
  readonly entry: HostEntry;
  readonly ca: readonly string[];
  readonly clientPairs: readonly ClientPair[];
}

export interface HostsConfiguration {
  readonly hosts: readonly ReadyHost[];
  readonly server: ReadyHost;
  readonly origin: string;
}

export interface HostsReader {
  /**
   * What /etc/containerd/certs.d says of `host[:port]`: its hosts.toml; or certificates alone, where the folder has
   * no such file; or nothing.
   * @throws ImgfsError `config` for a file that cannot be used.
   */
  read(host: string): Promise<HostsConfiguration | HostCertificates | undefined>;
}

/** Reads the folders of containerd. */
export function createHostsReader(environment: Environment, certificates: CertificateReader): HostsReader {
  const files = createFileMemo<HostsToml>((bytes, path) => parseHostsToml(bytes, path, dirname(path)));
  const anchors = createFileMemo(parseCertificates);
  return {
    read: async (host) => {
      const folder = await hostFolder(systemPath(environment, '/etc/containerd/certs.d'), host);
      if (folder === undefined) return undefined;
      const path = join(folder, 'hosts.toml');
      const size = (await stampFile(path))?.size ?? 0n;
      const file = size === 0n ? undefined : await files.read(path);
      if (file === undefined) return await certificates.inFolder(folder);
      const ready = async (entry: HostEntry): Promise<ReadyHost> => ({
        entry,
        ca: await readAnchors(entry, anchors),
        clientPairs: await readClientPairs(entry),
      });
      const hosts: ReadyHost[] = [];
      for (const entry of file.hosts) hosts.push(await ready(entry));
      return { hosts, server: await ready(file.server), origin: path };
    },
  };
}

/** `host_port_`, `host:port`, `_default`: the first that exists. */
async function hostFolder(root: string, host: string): Promise<string | undefined> {
  const names = [host.replace(/:([0-9]+)$/, '_$1_'), host, '_default'];
  for (const folder of [...new Set(names)].map((name) => join(root, name))) {
    if ((await stampFile(folder)) !== undefined) return folder;
  }
  return undefined;
}

async function readAnchors(entry: HostEntry, memo: FileMemo<CertificateBundle>): Promise<readonly string[]> {
  const ca: string[] = [];
  for (const path of entry.caPaths) {
    const bundle = await memo.read(path);
    if (bundle === undefined) throw unusable(path, 'there is no such file, and hosts.toml names it');
    ca.push(...bundle.certificates);
  }
  return ca;
}

async function readClientPairs(entry: HostEntry): Promise<readonly ClientPair[]> {
  const pairs: ClientPair[] = [];
  for (const [certPath, keyPath] of entry.clientPaths) {
    const [cert, key] = [await readText(certPath), await readText(keyPath)];
    checkKeyPair(cert, certPath, key, keyPath);
    pairs.push({ cert, key });
  }
  return pairs;
}

async function readText(path: string): Promise<string> {
  const file = await readConfigFile(path);
  if (file === undefined) throw unusable(path, 'there is no such file, and hosts.toml names it');
  return file.bytes.toString('latin1');
}
