/** Signatures of images, whatever tool made them and wherever they lie. */
import type { Digest } from '../../oci/digest.js';

/** "Simple signing": an OpenPGP message with the payload in it. */
export interface SimpleSignature {
  readonly format: 'simple-signing';
  /** `store`: the image's own store keeps it (a `dir:`, a registry with the extension, containers-storage). */
  readonly origin: 'lookaside' | 'store';
  /** Manifest whose signatures it was found among. */
  readonly about: Digest;
  readonly message: Uint8Array;
}

/** cosign's: a payload, and beside it a signature by a key. */
export interface SigstoreSignature {
  readonly format: 'sigstore';
  readonly origin: 'referrer' | 'cosign-tag' | 'index-child' | 'store' | 'lookaside';
  readonly mediaType: string;
  readonly payload: Uint8Array;
  /** Base64, as in `dev.cosignproject.cosign/signature`. */
  readonly signature: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** The artifact that carries it; where the store keeps it itself, the manifest it was put for. */
  readonly artifact: Digest;
}

/**
 * Others, as they are. `sigstore-bundle`: one document with signature and verification material, which a key can verify;
 * `notation`: an envelope (JWS or COSE) whose certificates a trust store judges, verified where it is JWS; policies of containers/image
 * know neither.
 */
export interface OtherSignature {
  readonly format: 'sigstore-bundle' | 'notation' | 'other';
  readonly origin: SigstoreSignature['origin'];
  readonly mediaType: string;
  readonly payload: Uint8Array;
  readonly annotations: Readonly<Record<string, string>>;
  readonly artifact: Digest;
}

/** One signature; `format` tells which. */
export type ImageSignature = SimpleSignature | SigstoreSignature | OtherSignature;

/** Format of a document of an artifact of signatures, by its media type. */
export function otherFormat(mediaType: string): OtherSignature['format'] {
  if (/^application\/vnd\.dev\.sigstore\.bundle(\.v[0-9.]+)?\+json/.test(mediaType)) return 'sigstore-bundle';
  return /^application\/(jose\+json|cose)$/.test(mediaType) ? 'notation' : 'other';
}

/** What cosign calls its payload (specs/SIGNATURE_SPEC.md). */
export const simpleSigningType = 'application/vnd.dev.cosign.simplesigning.v1+json';

/** Annotation with the signature. */
export const signatureAnnotation = 'dev.cosignproject.cosign/signature';
