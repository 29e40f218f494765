/**
 * Sigstore bundles (sigstore protobuf-specs, `sigstore_bundle.proto`, in JSON): checked offline with a public key. What is
 * signed is either an in-toto statement in a DSSE envelope, whose subjects are digests, or the manifest itself.
 * Certificates and entries of transparency logs are not looked at: a key needs none of them.
 */
import type { KeyObject } from 'node:crypto';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { createDigester, isDigest, type Digest } from '../../oci/digest.js';
import {
  asObject,
  field,
  optionalArray,
  optionalObject,
  requiredString,
  type JsonObject,
} from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { isSignedBy } from './sigstore-key.js';

const maxBytes = 4 * 1024 * 1024;
const what = 'sigstore bundle';
const inTotoType = 'application/vnd.in-toto+json';

/** What a bundle claims and a key has confirmed. */
export interface VerifiedBundle {
  /** Digest of the manifest, one of those that were asked for. */
  readonly manifestDigest: Digest;
  /** Of the statement; undefined where the manifest itself was signed. */
  readonly predicateType: string | undefined;
}

/** What a bundle may be about: digests of manifests, and the bytes of one. */
export interface BundleSubjects {
  readonly digests: readonly Digest[];
  manifest(digest: Digest): Promise<Uint8Array>;
}

/**
 * Check a bundle with a key.
 * @throws ImgfsError `integrity` when the key has not signed it or it is about something else; `invalid-content`.
 */
export async function verifyBundle(
  bytes: Uint8Array,
  key: KeyObject,
  subjects: BundleSubjects,
): Promise<VerifiedBundle> {
  const document = asObject(parseUntrustedJson(bytes, { what, maxBytes }), what);
  const envelope = optionalObject(document, 'dsseEnvelope', what);
  if (envelope !== undefined) return verifyEnvelope(envelope, key, subjects);
  const message = optionalObject(document, 'messageSignature', what);
  if (message !== undefined) return verifyMessage(message, key, subjects);
  throw new ImgfsError('invalid-content', `parse ${what}: neither an envelope nor a signature of a message`);
}

/** DSSE, protocol.md: what is signed is the pre-authentication encoding of type and payload. */
function verifyEnvelope(envelope: JsonObject, key: KeyObject, { digests }: BundleSubjects): VerifiedBundle {
  const where = `${what}.dsseEnvelope`;
  const payloadType = requiredString(envelope, 'payloadType', where);
  const payload = Buffer.from(requiredString(envelope, 'payload', where), 'base64');
  const signed = Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `),
    payload,
  ]);
  const signatures = (optionalArray(envelope, 'signatures', where) ?? []).map((value, at) =>
    requiredString(asObject(value, `${where}.signatures[${at}]`), 'sig', where),
  );
  if (!signatures.some((signature) => isSignedBy(key, signed, signature))) throw notSigned();
  if (payloadType !== inTotoType)
    throw new ImgfsError(
      'invalid-content',
      `parse ${where}: a payload of type ${JSON.stringify(payloadType.slice(0, 100))}`,
    );
  const statement = asObject(
    parseUntrustedJson(payload, { what: 'in-toto statement', maxBytes }),
    'in-toto statement',
  );
  const about = (optionalArray(statement, 'subject', 'in-toto statement') ?? []).flatMap(subjectDigests);
  const manifestDigest = digests.find((digest) => about.includes(digest));
  if (manifestDigest === undefined)
    throw new ImgfsError('integrity', `a bundle over ${about[0] ?? 'nothing'}`);
  return { manifestDigest, predicateType: requiredString(statement, 'predicateType', 'in-toto statement') };
}

function subjectDigests(value: unknown): readonly string[] {
  const set = asObject(field(asObject(value, 'in-toto statement'), 'digest') ?? {}, 'in-toto statement');
  return Object.entries(set)
    .map(([algorithm, hex]) => `${algorithm}:${String(hex)}`)
    .filter(isDigest);
}

async function verifyMessage(
  message: JsonObject,
  key: KeyObject,
  subjects: BundleSubjects,
): Promise<VerifiedBundle> {
  const where = `${what}.messageSignature`;
  const signature = requiredString(message, 'signature', where);
  const named = optionalObject(message, 'messageDigest', where);
  for (const digest of subjects.digests) {
    const bytes = await subjects.manifest(digest);
    // The digest is a hint for who looks for what was signed; only the signature proves anything.
    if (named !== undefined && !namesMessage(named, bytes)) continue;
    if (isSignedBy(key, bytes, signature)) return { manifestDigest: digest, predicateType: undefined };
  }
  throw notSigned();
}

function namesMessage(named: JsonObject, bytes: Uint8Array): boolean {
  if (field(named, 'algorithm') !== 'SHA2_256') return true;
  const digester = createDigester();
  digester.update(bytes);
  const hex = Buffer.from(String(field(named, 'digest')), 'base64').toString('hex');
  return digester.digest() === `sha256:${hex}`;
}

function notSigned(): ImgfsError {
  return new ImgfsError('integrity', 'a bundle by none of the keys, or over other bytes');
}
