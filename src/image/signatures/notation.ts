/**
 * Notation signatures (notaryproject specifications: signature-envelope-jws.md, signing-scheme.md,
 * trust-store-trust-policy.md): a JWS over the descriptor of a manifest, by the key of a certificate that leads to one of a
 * trust store. Checked offline: nobody is asked whether a certificate was revoked, and countersigned times are not read, so
 * that every certificate must be valid now.
 */
import { constants, verify, X509Certificate, type KeyObject } from 'node:crypto';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import {
  asObject,
  field,
  optionalArray,
  optionalString,
  optionalStrings,
  requiredString,
  type JsonObject,
} from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';

const what = 'notation signature';
/** An envelope with a chain of eight certificates of 2 KiB is 25 kB. */
const maxBytes = 1024 * 1024;
const maxChain = 10;
const prefix = 'io.cncf.notary.';
/** Extended key usage of certificates that sign code (RFC 5280, 4.2.1.12). */
const codeSigning = '1.3.6.1.5.5.7.3.3';
const understood: ReadonlySet<string> = new Set([`${prefix}signingScheme`, `${prefix}expiry`]);

/** What an envelope claims and a certificate has confirmed. */
export interface VerifiedNotation {
  /** Digest of the manifest, one of those that were asked for. */
  readonly manifestDigest: Digest;
  /** Subject of the certificate that signed, on one line. */
  readonly signer: string;
}

/** The certificates of a PEM file. @throws ImgfsError `config` when there is none, or one cannot be read. */
export function parseCertificates(pem: Uint8Array, where: string): readonly X509Certificate[] {
  const blocks = Buffer.from(pem)
    .toString('latin1')
    .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  try {
    const found = (blocks ?? []).map((block) => new X509Certificate(block));
    if (found.length > 0) return found;
  } catch {
    // Said below.
  }
  throw new ImgfsError('config', `read certificates ${where}: not certificates in PEM`, {
    path: where,
    hint: 'give the certificates of the authorities that are trusted, as in a trust store of notation',
  });
}

/**
 * Check an envelope against a trust store.
 * @throws ImgfsError `integrity` when no trusted certificate has signed it, it has expired, or is about something else;
 *   `invalid-content` for what is no such envelope; `unsupported` for COSE, and for what must be understood and is not.
 */
export function verifyNotation(
  { mediaType, payload }: { readonly mediaType: string; readonly payload: Uint8Array },
  trusted: readonly X509Certificate[],
  digests: readonly Digest[],
  now: Date = new Date(),
): VerifiedNotation {
  if (mediaType !== 'application/jose+json')
    throw new ImgfsError('unsupported', `${what}: an envelope of type ${mediaType}, only JWS is read`);
  const envelope = asObject(parseUntrustedJson(payload, { what, maxBytes }), what);
  const [signed, claims] = ['protected', 'payload'].map((name) => requiredString(envelope, name, what));
  const header = asObject(parseUntrustedJson(decoded(signed ?? ''), { what, maxBytes }), `${what}.protected`);
  checkHeader(header, now);
  const chain = chainOf(envelope);
  const [leaf] = chain;
  if (leaf === undefined) throw new ImgfsError('invalid-content', `parse ${what}: no certificate`);
  const signature = decoded(requiredString(envelope, 'signature', what));
  if (!isSigned(requiredString(header, 'alg', what), leaf.publicKey, `${signed}.${claims}`, signature))
    throw new ImgfsError('integrity', `${what}: not by the key of its certificate, or over other bytes`);
  checkChain(chain, trusted, now);
  const document = asObject(parseUntrustedJson(decoded(claims ?? ''), { what, maxBytes }), `${what}.payload`);
  const target = asObject(field(document, 'targetArtifact'), `${what}.targetArtifact`);
  const about = requiredString(target, 'digest', what);
  const manifestDigest = digests.find((digest) => digest === about);
  if (manifestDigest === undefined) throw new ImgfsError('integrity', `${what} over ${about.slice(0, 200)}`);
  return { manifestDigest, signer: leaf.subject.split('\n').join(', ') };
}

const decoded = (text: string): Buffer => Buffer.from(text, 'base64url');

function checkHeader(header: JsonObject, now: Date): void {
  const where = `${what}.protected`;
  for (const key of optionalStrings(header, 'crit', where) ?? [])
    if (!understood.has(key))
      throw new ImgfsError(
        'unsupported',
        `${what}: it asks for ${key.slice(0, 200)} to be looked at, which we cannot`,
      );
  const type = requiredString(header, 'cty', where);
  if (type !== 'application/vnd.cncf.notary.payload.v1+json')
    throw new ImgfsError(
      'invalid-content',
      `parse ${what}: a payload of type ${JSON.stringify(type.slice(0, 100))}`,
    );
  const scheme = requiredString(header, `${prefix}signingScheme`, where);
  // The certificates of signing authorities are another trust store.
  if (scheme !== 'notary.x509')
    throw new ImgfsError(
      'unsupported',
      `${what}: made by the scheme ${JSON.stringify(scheme.slice(0, 100))}`,
    );
  const expiry = optionalString(header, `${prefix}expiry`, where);
  // A time that is none has passed.
  if (expiry !== undefined && !(new Date(expiry) > now))
    throw new ImgfsError('integrity', `${what}: it has expired (${expiry.slice(0, 40)})`);
}

function chainOf(envelope: JsonObject): readonly X509Certificate[] {
  const header = asObject(field(envelope, 'header') ?? {}, `${what}.header`);
  const texts = optionalArray(header, 'x5c', `${what}.header`) ?? [];
  if (texts.length > maxChain)
    throw new ImgfsError('too-large', `${what}: a chain of ${texts.length} certificates`);
  try {
    return texts.map((text) => new X509Certificate(Buffer.from(String(text), 'base64')));
  } catch (error) {
    throw new ImgfsError('invalid-content', `parse ${what}: a certificate cannot be read`, { cause: error });
  }
}

const curves: Readonly<Record<string, string>> = {
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
};

/** RFC 7518: `PS…` is RSA-PSS with a salt as long as its hash, `ES…` ECDSA with both numbers one behind the other. */
function isSigned(alg: string, key: KeyObject, text: string, signature: Buffer): boolean {
  const [, kind, bits] = /^(PS|ES)(256|384|512)$/.exec(alg) ?? [];
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  const bytes = Buffer.from(text, 'latin1');
  try {
    if (kind === 'PS' && type === 'rsa' && (details?.modulusLength ?? 0) >= 2048) {
      const padding = {
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      };
      return verify(`sha${bits}`, bytes, { key, ...padding }, signature);
    }
    if (kind !== 'ES' || type !== 'ec' || details?.namedCurve !== curves[alg]) return false;
    return verify(`sha${bits}`, bytes, { key, dsaEncoding: 'ieee-p1363' }, signature);
  } catch {
    return false;
  }
}

function checkChain(chain: readonly X509Certificate[], trusted: readonly X509Certificate[], now: Date): void {
  const prints = new Set(trusted.map(({ fingerprint256 }) => fingerprint256));
  for (const [at, certificate] of chain.entries()) {
    const who = certificate.subject.split('\n').join(', ');
    if (new Date(certificate.validFrom) > now || new Date(certificate.validTo) < now)
      refuse(`the certificate of ${who} is valid from ${certificate.validFrom} to ${certificate.validTo}`);
    if (at > 0 && !certificate.ca) refuse(`${who} may certify nobody`);
    const usage = certificate.keyUsage as readonly string[] | undefined;
    if (at === 0 && usage !== undefined && !usage.includes(codeSigning))
      refuse(`the certificate of ${who} is not for signing`);
    if (prints.has(certificate.fingerprint256)) return;
    const issuer = chain[at + 1] ?? trusted.find((one) => one.ca && certificate.checkIssued(one));
    if (issuer === undefined) break;
    if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey))
      refuse(`the certificate of ${who} is not by the one behind it`);
    if (at + 1 === chain.length && prints.has(issuer.fingerprint256)) {
      if (new Date(issuer.validTo) < now) refuse(`the trusted certificate expired ${issuer.validTo}`);
      return;
    }
  }
  refuse('its certificates lead to none that is trusted');
}

function refuse(why: string): never {
  throw new ImgfsError('integrity', `${what}: ${why}`);
}
