/** Certificates for tests, made anew with openssl for each process: a CA, servers good and bad, a client. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeTempDir, removeTempDir } from '../temp.js';

const run = promisify(execFile);

/** openssl makes an EC key and signs in some 10 ms; this is for a machine that stands still. */
const opensslTimeoutMs = 30_000;

export interface KeyPair {
  /** PEM. */
  readonly key: string;
  /** PEM. */
  readonly cert: string;
}

export interface TestCertificates {
  /** The CA that tests trust, PEM. */
  readonly ca: string;
  /** For 127.0.0.1, ::1 and localhost. */
  readonly good: KeyPair;
  /** Signed by the CA, but no longer valid. */
  readonly expired: KeyPair;
  /** Signed by the CA for another host. */
  readonly wrongName: KeyPair;
  /** For the right host, by a CA that nobody trusts. */
  readonly untrusted: KeyPair;
  /** A client certificate signed by the CA. */
  readonly client: KeyPair;
}

export type ServerTls = KeyPair & {
  readonly ca?: string;
  readonly requestCert?: boolean;
  readonly rejectUnauthorized?: boolean;
};

interface Authority {
  readonly certPath: string;
  readonly keyPath: string;
}

async function openssl(directory: string, ...groups: string[][]): Promise<void> {
  await run('openssl', groups.flat(), { cwd: directory, timeout: opensslTimeoutMs });
}

const keyParameters = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

async function makeAuthority(directory: string, name: string): Promise<Authority> {
  const authority = {
    certPath: join(directory, `${name}.pem`),
    keyPath: join(directory, `${name}.key`),
  };
  await openssl(
    directory,
    ['req', '-x509', ...keyParameters, '-days', '2', '-subj', `/CN=imgfs test ${name}`],
    ['-keyout', authority.keyPath, '-out', authority.certPath],
  );
  return authority;
}

async function issue(
  directory: string,
  authority: Authority,
  name: string,
  altNames: string,
  days = '2',
): Promise<KeyPair> {
  const path = (suffix: string): string => join(directory, `${name}.${suffix}`);
  await writeFile(path('ext'), `subjectAltName=${altNames}\nextendedKeyUsage=serverAuth,clientAuth\n`);
  await openssl(
    directory,
    ['req', ...keyParameters, '-subj', `/CN=${name}`],
    ['-keyout', path('key'), '-out', path('csr')],
  );
  await openssl(
    directory,
    ['x509', '-req', '-in', path('csr'), '-CA', authority.certPath, '-CAkey', authority.keyPath],
    ['-CAcreateserial', '-days', days, '-extfile', path('ext'), '-out', path('pem')],
  );
  const [key, cert] = await Promise.all([readFile(path('key'), 'utf8'), readFile(path('pem'), 'utf8')]);
  return { key, cert };
}

const loopbackNames = 'IP:127.0.0.1,IP:::1,DNS:localhost';

async function makeCertificates(): Promise<TestCertificates> {
  const directory = await makeTempDir('certs');
  try {
    const authority = await makeAuthority(directory, 'ca');
    const stranger = await makeAuthority(directory, 'other-ca');
    return {
      ca: await readFile(authority.certPath, 'utf8'),
      good: await issue(directory, authority, 'good', loopbackNames),
      expired: await issue(directory, authority, 'expired', loopbackNames, '0'),
      wrongName: await issue(directory, authority, 'wrong-name', 'DNS:other.example'),
      untrusted: await issue(directory, stranger, 'untrusted', loopbackNames),
      client: await issue(directory, authority, 'client', 'DNS:client.example'),
    };
  } finally {
    await removeTempDir(directory);
  }
}

let made: Promise<TestCertificates> | undefined;

/** Made at the first call and kept for the process. */
export function testCertificates(): Promise<TestCertificates> {
  made ??= makeCertificates();
  return made;
}
