/**
 * The certificate authorities this machine trusts. Node brings its own list and ignores the machine's, so an
 * authority that an administrator installed would work in every tool but this one. What counts here is what the
 * machine has and Node lacks: usually nothing.
 *
 * Files as in Go's crypto/x509, which all peers are built on: SSL_CERT_FILE or the first bundle of the list, and
 * SSL_CERT_DIR or, where there is no bundle, the first folder. NODE_EXTRA_CA_CERTS joins them, since Node forgets
 * it as soon as it is given a list.
 */
import { X509Certificate } from 'node:crypto';
import { isAbsolute, join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { createLogger } from '../../../observe/log.js';
import { systemPath, userPath, variable, type Environment } from './environment.js';
import { createFileMemo, type FileMemo } from './file-memo.js';
import { certificateContent, splitCertificates } from './pem.js';
import { listConfigDirectory, unusable } from './read-file.js';

/** Debian, Fedora and RHEL 6, openSUSE, OpenELEC, RHEL 7, Alpine: in the order of Go's list. */
const systemBundles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];
const systemFolders = ['/etc/ssl/certs', '/etc/pki/tls/certs'];

const log = createLogger('registry');

export interface TrustAnchors {
  /**
   * Trusted certificates that are not in Node's own list, PEM; the same array while no file changed.
   * @throws ImgfsError `config` when SSL_CERT_FILE names no usable file.
   */
  read(): Promise<readonly string[]>;
}

/** A bundle as far as it matters here. */
interface AnchorBundle {
  /** Certificates in the file, also those that Node has. */
  readonly count: number;
  /** Those that Node has not. */
  readonly certificates: readonly string[];
}

/**
 * How long an answer counts, in milliseconds: a folder of authorities has 290 entries on Debian, each a `stat`, and
 * changes a few times a year.
 */
const recheckMs = 60_000;

/** Files of a folder read at a time: 290 took 170 ms one by one, and a mount waits for them. */
const readsAtOnce = 16;

/** Of the process: comparing 150 certificates with Node's takes 10 ms of the thread, whoever asks. */
const bundles = createFileMemo(readBundle);

/** Reads the machine's trust anchors. */
export function createTrustAnchors(environment: Environment): TrustAnchors {
  let known: { parts: readonly AnchorBundle[]; value: readonly string[]; at: number } | undefined;
  return {
    read: async () => {
      if (known !== undefined && performance.now() - known.at < recheckMs) return known.value;
      const parts = await readParts(environment, bundles);
      const before = known;
      const same =
        before?.parts.length === parts.length && parts.every((part, at) => part === before.parts[at]);
      known = { parts, value: same ? before.value : uniqueCertificates(parts), at: performance.now() };
      return known.value;
    },
  };
}

type Bundles = FileMemo<AnchorBundle>;

async function readParts(environment: Environment, bundles: Bundles): Promise<readonly AnchorBundle[]> {
  const named = variable(environment, 'SSL_CERT_FILE');
  const main =
    named === undefined
      ? await readFirst(
          bundles,
          systemBundles.map((path) => systemPath(environment, path)),
        )
      : await readNamed(bundles, userPath(environment, named));
  const parts = main === undefined ? [] : [main];
  for (const folder of anchorFolders(environment, main !== undefined)) {
    parts.push(...(await readFolder(bundles, folder)));
  }
  const extra = variable(environment, 'NODE_EXTRA_CA_CERTS');
  const added = extra === undefined ? undefined : await readOptional(bundles, userPath(environment, extra));
  return added === undefined ? parts : [...parts, added];
}

async function readFirst(bundles: Bundles, paths: readonly string[]): Promise<AnchorBundle | undefined> {
  for (const path of paths) {
    const bundle = await bundles.read(path);
    if (bundle !== undefined) return bundle;
  }
  return undefined;
}

async function readFolder(bundles: Bundles, folder: string): Promise<readonly AnchorBundle[]> {
  const names = (await listConfigDirectory(folder)) ?? [];
  const found: (AnchorBundle | undefined)[] = [];
  for (let at = 0; at < names.length; at += readsAtOnce) {
    const some = names.slice(at, at + readsAtOnce);
    found.push(...(await Promise.all(some.map((name) => readOptional(bundles, join(folder, name))))));
  }
  return found.filter((bundle) => bundle !== undefined);
}

function anchorFolders(environment: Environment, hasBundle: boolean): readonly string[] {
  const named = variable(environment, 'SSL_CERT_DIR');
  if (named !== undefined) return named.split(':').filter((folder) => isAbsolute(folder));
  return hasBundle ? [] : systemFolders.map((path) => systemPath(environment, path));
}

async function readNamed(bundles: Bundles, path: string): Promise<AnchorBundle> {
  const bundle = await bundles.read(path);
  if (bundle === undefined || bundle.count === 0) {
    const why = bundle === undefined ? 'there is no such file' : 'it holds no certificate in PEM form';
    throw unusable(path, `${why}, and SSL_CERT_FILE names it`);
  }
  return bundle;
}

/** Folders hold subfolders, dangling links and private files: what cannot be read there is not trusted. */
async function readOptional(bundles: Bundles, path: string): Promise<AnchorBundle | undefined> {
  try {
    return await bundles.read(path);
  } catch {
    log.debug('trust anchor skipped', { path });
    return undefined;
  }
}

/** Node's list as it is compared: built once, 144 entries, 1 ms. */
let ownAnchors: ReadonlySet<string> | undefined;

function readBundle(bytes: Buffer, path: string): AnchorBundle {
  ownAnchors ??= new Set(rootCertificates.map(certificateContent));
  const own = ownAnchors;
  const all = splitCertificates(bytes.toString('latin1'));
  const certificates = all.filter((pem) => !own.has(certificateContent(pem)) && isReadable(pem, path));
  return { count: all.length, certificates };
}

/** What cannot be parsed could not be trusted either; system bundles do hold some. */
function isReadable(pem: string, path: string): boolean {
  try {
    return new X509Certificate(pem).fingerprint256 !== '';
  } catch {
    log.debug('damaged trust anchor skipped', { path });
    return false;
  }
}

function uniqueCertificates(parts: readonly AnchorBundle[]): readonly string[] {
  const unique = new Map<string, string>();
  for (const pem of parts.flatMap((part) => part.certificates)) unique.set(certificateContent(pem), pem);
  return [...unique.values()];
}
