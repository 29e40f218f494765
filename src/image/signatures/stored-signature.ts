/**
 * Signatures as stores keep them in files (containers/image internal/signature): an OpenPGP message as it is; any other
 * behind a zero byte, the name of its format and a line feed. Of these there is `sigstore-json`.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import { asObject, optionalStringMap, requiredString } from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';
import {
  otherFormat,
  signatureAnnotation,
  simpleSigningType,
  type ImageSignature,
} from './image-signature.js';

const maxBytes = 4 * 1024 * 1024;
const sigstoreFormat = 'sigstore-json';

/**
 * One stored signature of the manifest `about`.
 * @throws ImgfsError `invalid-content` for a format that nobody has.
 */
export function parseStoredSignature(
  bytes: Uint8Array,
  about: Digest,
  origin: 'store' | 'lookaside',
): ImageSignature {
  if (bytes[0] !== 0) return { format: 'simple-signing', origin, about, message: bytes };
  const lineEnd = bytes.indexOf(0x0a);
  const name = Buffer.from(bytes.subarray(1, Math.max(1, lineEnd))).toString('latin1');
  const rest = bytes.subarray(lineEnd + 1);
  if (lineEnd > 0 && name === 'simple-signing')
    return { format: 'simple-signing', origin, about, message: rest };
  if (lineEnd > 0 && name === sigstoreFormat) return parseSigstore(rest, about, origin);
  throw new ImgfsError(
    'invalid-content',
    `read signature of ${about}: format ${JSON.stringify(name.slice(0, 100))}`,
    {
      digest: about,
    },
  );
}

function parseSigstore(bytes: Uint8Array, artifact: Digest, origin: 'store' | 'lookaside'): ImageSignature {
  const what = 'sigstore signature';
  const document = asObject(parseUntrustedJson(bytes, { what, maxBytes }), what);
  const mediaType = requiredString(document, 'mimeType', what);
  const payload = Buffer.from(requiredString(document, 'payload', what), 'base64');
  const annotations = optionalStringMap(document, 'annotations', what) ?? {};
  const signature = annotations[signatureAnnotation];
  const common = { origin, mediaType, payload, annotations, artifact };
  if (mediaType === simpleSigningType && signature !== undefined)
    return { format: 'sigstore', signature, ...common };
  return { format: otherFormat(mediaType), ...common };
}

/** A signature by a key in the form that stores keep. Base64 of the signature is put among the annotations. */
export function encodeSigstore(
  payload: Uint8Array,
  signature: string,
  annotations: Readonly<Record<string, string>> = {},
): Uint8Array {
  const document = {
    mimeType: simpleSigningType,
    payload: Buffer.from(payload).toString('base64'),
    annotations: { [signatureAnnotation]: signature, ...annotations },
  };
  return Buffer.from(`\0${sigstoreFormat}\n${JSON.stringify(document)}`);
}
