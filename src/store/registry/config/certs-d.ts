/** Certificates by registry: containers-certs.d(5), which has Docker's layout. */
import { join } from 'node:path';
import { homePath, systemPath, userPath, type Environment } from './environment.js';
import { createFileMemo, type FileMemo } from './file-memo.js';
import { checkKeyPair, parseCertificates } from './pem.js';
import { isPermissionError, listConfigDirectory, stampFile, unusable } from './read-file.js';

export interface ClientPair {
  readonly cert: string;
  readonly key: string;
}

/** What a folder of certificates holds. */
export interface HostCertificates {
  /** Trust anchors, PEM, one certificate each. */
  readonly ca: readonly string[];
  readonly clientPairs: readonly ClientPair[];
  readonly origin: string;
}

export interface CertificateReader {
  /**
   * The certificates for `host[:port]`, from `--cert-dir`, else from the first folder there is; the same object
   * while no file changed.
   * @throws ImgfsError `config` for a file that cannot be used, a key without certificate or a certificate without key.
   */
  forHost(host: string): Promise<HostCertificates | undefined>;
  /** The certificates of one folder in this layout; undefined when there is none, or nothing in it. */
  inFolder(folder: string): Promise<HostCertificates | undefined>;
}

export interface CertificateOptions {
  /** `--cert-dir`: used for every registry, without a folder for each. */
  readonly certDir?: string;
}

/** Reads certificates below ~/.config/containers, /etc/containers and /etc/docker, in this order. */
export function createCertificateReader(
  environment: Environment,
  options: CertificateOptions,
): CertificateReader {
  const inFolder = createFolderReader();
  return {
    inFolder,
    forHost: async (host) => {
      if (options.certDir !== undefined) {
        const folder = userPath(environment, options.certDir);
        if ((await stampFile(folder)) === undefined) throw unusable(folder, '--cert-dir names no folder');
        return await inFolder(folder);
      }
      for (const root of certificateRoots(environment)) {
        const folder = join(root, host);
        if (await exists(folder)) return await inFolder(folder);
      }
      return undefined;
    },
  };
}

function certificateRoots(environment: Environment): readonly string[] {
  const own = homePath(environment, '.config/containers/certs.d');
  const system = ['/etc/containers/certs.d', '/etc/docker/certs.d'].map((path) =>
    systemPath(environment, path),
  );
  return own === undefined ? system : [own, ...system];
}

/** Folders that we may not enter are passed over, as the peers do: they are for root's own tools. */
async function exists(folder: string): Promise<boolean> {
  try {
    return (await stampFile(folder)) !== undefined;
  } catch (error) {
    if (isPermissionError(error)) return false;
    throw error;
  }
}

/** Certificates of a file, and the text itself: keys are only text. */
interface PemText {
  readonly text: string;
}

function createFolderReader(): CertificateReader['inFolder'] {
  const anchors = createFileMemo(parseCertificates);
  const texts = createFileMemo<PemText>((bytes) => ({ text: bytes.toString('latin1') }));
  const known = new Map<string, { parts: readonly object[]; value: HostCertificates }>();
  return async (folder) => {
    const names = await listFolder(folder);
    const parts: object[] = [];
    const ca: string[] = [];
    for (const name of names.filter((each) => each.endsWith('.crt'))) {
      const bundle = await anchors.read(join(folder, name));
      if (bundle === undefined) continue; // Removed since the folder was listed.
      parts.push(bundle);
      ca.push(...bundle.certificates);
    }
    const pairs = await readPairs(folder, names, texts);
    parts.push(...pairs.flat());
    if (parts.length === 0) return undefined;
    const before = known.get(folder);
    if (before?.parts.length === parts.length && parts.every((part, at) => part === before.parts[at])) {
      return before.value;
    }
    const clientPairs = pairs.map(([cert, key]) => ({ cert: cert.text, key: key.text }));
    const value = { ca, clientPairs, origin: folder };
    known.set(folder, { parts, value });
    return value;
  };
}

async function listFolder(folder: string): Promise<readonly string[]> {
  try {
    return (await listConfigDirectory(folder)) ?? [];
  } catch (error) {
    if (isPermissionError(error)) return [];
    throw error;
  }
}

/** `NAME.cert` and `NAME.key` belong together; one alone is a mistake that would show as a 401 much later. */
async function readPairs(
  folder: string,
  names: readonly string[],
  texts: FileMemo<PemText>,
): Promise<readonly (readonly [PemText, PemText])[]> {
  const has = new Set(names);
  for (const name of names) {
    const partner = name.endsWith('.key') ? name.replace(/\.key$/, '.cert') : name.replace(/\.cert$/, '.key');
    if (partner !== name && !has.has(partner)) throw missingPartner(join(folder, name), partner);
  }
  const pairs: (readonly [PemText, PemText])[] = [];
  for (const name of names.filter((each) => each.endsWith('.cert'))) {
    const [certPath, keyPath] = [join(folder, name), join(folder, name.replace(/\.cert$/, '.key'))];
    const [cert, key] = [await texts.read(certPath), await texts.read(keyPath)];
    if (cert === undefined || key === undefined) throw missingPartner(certPath, keyPath);
    checkKeyPair(cert.text, certPath, key.text, keyPath);
    pairs.push([cert, key]);
  }
  return pairs;
}

function missingPartner(path: string, partner: string): Error {
  const hint = 'a client certificate is NAME.cert with NAME.key; certificate authorities are NAME.crt';
  return unusable(path, `its partner ${partner} is missing`, undefined, hint);
}
