/** What a signature is about: the document of "simple signing" (containers/image docs/atomic-signature.md, cosign). */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import { asObject, field, requiredString } from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';

/** Payloads have 200 to 1,000 bytes. */
const maxPayloadBytes = 1024 * 1024;

/** The claim of a signature. Nothing of it is true before the signature was verified. */
export interface SignaturePayload {
  /** Manifest that was signed. */
  readonly manifestDigest: Digest;
  /** Name it was signed under, as it is written: `docker.io/library/alpine:3.20`, or without a tag by cosign. */
  readonly reference: string;
  readonly type: 'atomic container signature' | 'cosign container image signature';
}

/** @throws ImgfsError `invalid-content` for what is no such document. */
export function parseSignaturePayload(bytes: Uint8Array): SignaturePayload {
  const what = 'signature payload';
  const document = asObject(parseUntrustedJson(bytes, { what, maxBytes: maxPayloadBytes }), what);
  const critical = asObject(field(document, 'critical'), `${what}.critical`);
  const image = asObject(field(critical, 'image'), `${what}.critical.image`);
  const identity = asObject(field(critical, 'identity'), `${what}.critical.identity`);
  const type = requiredString(critical, 'type', `${what}.critical`);
  const manifestDigest = requiredString(image, 'docker-manifest-digest', `${what}.critical.image`);
  if (type !== 'atomic container signature' && type !== 'cosign container image signature')
    throw new ImgfsError('invalid-content', `parse ${what}: type ${JSON.stringify(type)}`);
  if (!isDigest(manifestDigest))
    throw new ImgfsError('invalid-content', `parse ${what}: no digest of a manifest`);
  const reference = requiredString(identity, 'docker-reference', `${what}.critical.identity`);
  return { manifestDigest, reference, type };
}

/** The document that cosign signs for a manifest. */
export function cosignPayload(manifestDigest: Digest, reference: string): Uint8Array {
  const critical = {
    identity: { 'docker-reference': reference },
    image: { 'docker-manifest-digest': manifestDigest },
    type: 'cosign container image signature',
  };
  return Buffer.from(JSON.stringify({ critical, optional: null }));
}
