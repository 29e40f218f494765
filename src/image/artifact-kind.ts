/**
 * What an artifact that refers to an image is for, by its media types. The types are those that cosign, notation,
 * BuildKit, syft, trivy and oras write; a type of an unknown tool is `other`.
 */
import type { Descriptor } from '../oci/descriptor.js';

export type ArtifactKind = 'signature' | 'sbom' | 'attestation' | 'other';

const signatureTypes = [
  /^application\/vnd\.cncf\.notary\.signature$/,
  /^application\/vnd\.dev\.cosign\.(artifact\.sig|simplesigning)\.v1\+json$/,
  /^application\/vnd\.dev\.sigstore\.bundle(\.v[0-9.]+)?\+json(;version=[0-9.]+)?$/,
  /^application\/vnd\.docker\.(plugin\.)?signature/,
];

const sbomTypes = [
  /spdx/,
  /cyclonedx/,
  /^application\/vnd\.syft\+json$/,
  /^application\/vnd\.(example|goharbor\.harbor)\.sbom/,
  /(^|[./+-])sbom([./+-]|$)/,
];

const attestationTypes = [
  /^application\/vnd\.in-toto(\.[a-z.-]+)?\+(json|dsse)$/,
  /^application\/vnd\.dsse\.envelope\.v1\+json$/,
  /^application\/vnd\.dev\.cosign\.artifact\.att\.v1\+json$/,
  /attestation/,
  /provenance/,
];

const cosignSignPredicate = 'https://sigstore.dev/cosign/sign/v1';

/** Annotation of BuildKit's and cosign's attestation layers: the URI of the predicate. */
export const predicateTypeAnnotations = ['in-toto.io/predicate-type', 'predicateType'] as const;

/** The predicate that an in-toto layer carries, as its annotations say. */
export function predicateType(descriptor: Descriptor): string | undefined {
  for (const key of predicateTypeAnnotations) {
    const value = descriptor.annotations?.[key];
    if (value !== undefined) return value;
  }
  return undefined;
}

/** True for a predicate URI that means a bill of materials (in-toto attestation predicates `spdx`, `cyclonedx`). */
export function isSbomPredicate(uri: string): boolean {
  return /^https?:\/\/(www\.)?(spdx\.dev\/Document|cyclonedx\.org\/(bom|schema))/.test(uri);
}

/** Kind by a media type or artifact type alone. */
export function kindOfType(type: string): ArtifactKind {
  const lower = type.toLowerCase();
  if (signatureTypes.some((pattern) => pattern.test(lower))) return 'signature';
  if (sbomTypes.some((pattern) => pattern.test(lower))) return 'sbom';
  if (attestationTypes.some((pattern) => pattern.test(lower))) return 'attestation';
  return 'other';
}

/**
 * Kind of a referrer, by its artifact type and annotations. A sigstore bundle may hold a signature or an
 * attestation: its predicate annotation tells.
 */
export function artifactKind(descriptor: Descriptor): ArtifactKind {
  const kind = kindOfType(descriptor.artifactType ?? '');
  const predicate =
    predicateType(descriptor) ?? descriptor.annotations?.['dev.sigstore.bundle.predicateType'];
  // Since version 3 cosign signs images with a statement that says nothing but that.
  if (kind === 'signature' && predicate === cosignSignPredicate) return kind;
  if (predicate !== undefined && (kind === 'signature' || kind === 'other')) return 'attestation';
  return kind;
}

/** File name suffix that lets tools and people recognise a document of a signature, an SBOM or an attestation. */
export function documentSuffix(mediaType: string): string {
  const type = mediaType.toLowerCase();
  const known = documentSuffixes.find(([pattern]) => pattern.test(type));
  if (known !== undefined) return known[1];
  if (/[+/]json\b/.test(type)) return '.json';
  if (/[+/]xml\b/.test(type)) return '.xml';
  if (type.startsWith('text/')) return '.txt';
  return '.bin';
}

const documentSuffixes: readonly (readonly [RegExp, string])[] = [
  [/simplesigning/, '.payload.json'],
  [/sigstore\.bundle/, '.sigstore.json'],
  [/dsse/, '.dsse.json'],
  [/in-toto/, '.intoto.json'],
  [/jose\+json/, '.jws.json'],
  [/application\/cose/, '.cose'],
  [/spdx.*json/, '.spdx.json'],
  [/spdx/, '.spdx'],
  [/cyclonedx.*xml/, '.cdx.xml'],
  [/cyclonedx/, '.cdx.json'],
  [/vnd\.syft/, '.syft.json'],
];
