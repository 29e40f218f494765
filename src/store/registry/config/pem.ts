/** PEM files: certificates and keys, checked when they are read, so that a bad one is named and not ignored. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { unusable } from './read-file.js';

/** The certificates of a PEM text, one string each, in order. Blocks of other kinds are passed over. */
export function splitCertificates(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
}

/** The encoded content of a certificate, for comparison: two spellings of one certificate give the same text. */
export function certificateContent(pem: string): string {
  return pem.replaceAll(/-----[A-Z ]+-----|\s+/g, '');
}

/** A bundle of certificates. */
export interface CertificateBundle {
  readonly certificates: readonly string[];
}

/**
 * The certificates of a file, at least one.
 * @throws ImgfsError `config` naming the file.
 */
export function parseCertificates(bytes: Buffer, path: string): CertificateBundle {
  const certificates = splitCertificates(bytes.toString('latin1'));
  if (certificates.length === 0) throw unusable(path, 'it holds no certificate in PEM form');
  for (const certificate of certificates) parseCertificate(certificate, path);
  return { certificates };
}

function parseCertificate(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw unusable(path, 'it holds a damaged certificate', error);
  }
}

/**
 * Check that a key opens a certificate.
 * @throws ImgfsError `config` naming the file at fault; nothing of the key is shown.
 */
export function checkKeyPair(cert: string, certPath: string, key: string, keyPath: string): void {
  const [first] = splitCertificates(cert);
  if (first === undefined) throw unusable(certPath, 'it holds no certificate in PEM form');
  const certificate = parseCertificate(first, certPath);
  let privateKey: ReturnType<typeof createPrivateKey>;
  try {
    privateKey = createPrivateKey(key);
  } catch {
    // The cause is left out: it says nothing that helps, and this is a private key.
    const why = /ENCRYPTED/.test(key) ? 'the key is encrypted' : 'it holds no private key in PEM form';
    throw unusable(keyPath, why);
  }
  if (!certificate.checkPrivateKey(privateKey)) throw unusable(keyPath, `it is not the key of ${certPath}`);
}
