/** Signatures of images, whatever tool made them and wherever they lie. */
import type { Digest } from '../../oci/digest.js';

/** "Simple signing": an OpenPGP message with the payload in it. */
export interface SimpleSignature {
  readonly format: 'simple-signing';
  readonly origin: 'lookaside';
  /** Manifest whose signatures it was found among. */
  readonly about: Digest;
  readonly message: Uint8Array;
}

/** cosign's: a payload, and beside it a signature by a key. */
export interface SigstoreSignature {
  readonly format: 'sigstore';
  readonly origin: 'referrer' | 'cosign-tag' | 'index-child';
  readonly mediaType: string;
  readonly payload: Uint8Array;
  /** Base64, as in `dev.cosignproject.cosign/signature`. */
  readonly signature: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** The artifact that carries it. */
  readonly artifact: Digest;
}

/** Any other: notation's envelopes, sigstore bundles. Kept as they are; policies of containers/image know none. */
export interface OtherSignature {
  readonly format: 'other';
  readonly origin: SigstoreSignature['origin'];
  readonly mediaType: string;
  readonly payload: Uint8Array;
  readonly annotations: Readonly<Record<string, string>>;
  readonly artifact: Digest;
}

/** One signature; `format` tells which. */
export type ImageSignature = SimpleSignature | SigstoreSignature | OtherSignature;

/** What cosign calls its payload (specs/SIGNATURE_SPEC.md). */
export const simpleSigningType = 'application/vnd.dev.cosign.simplesigning.v1+json';

/** Annotation with the signature. */
export const signatureAnnotation = 'dev.cosignproject.cosign/signature';
