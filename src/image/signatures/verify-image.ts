/**
 * Whether a policy lets an image in. Each requirement of the scope must be met, and a requirement that asks for a
 * signature is met by one good signature over the digest of the manifest, for the right name.
 */
import { readFile } from 'node:fs/promises';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import type { CallOptions } from '../../store/store.js';
import type { ImageSignature } from './image-signature.js';
import { parseCertificates, verifyNotation } from './notation.js';
import { verifyOpenPgp } from './openpgp.js';
import { parseSignaturePayload, type SignaturePayload } from './payload.js';
import {
  identityMatches,
  requirementsFor,
  type Policy,
  type PolicyKeys,
  type PolicyRequirement,
  type PolicySubject,
} from './policy.js';
import { verifyBundle } from './sigstore-bundle.js';
import { isSignedBy, parsePublicKey } from './sigstore-key.js';

/** Why an image is accepted. */
export interface Verdict {
  /** `default`, or transport and scope of the policy. */
  readonly scope: string;
  readonly manifestDigest: Digest;
  /** What met each requirement, in words. */
  readonly reasons: readonly string[];
}

/** What is verified: the digests that a signature may be about, the most specific one first. */
export interface VerifiedThing {
  readonly subject: PolicySubject;
  readonly digests: readonly Digest[];
  readonly signatures: readonly ImageSignature[];
  /** Exact bytes of one of the digests. */
  manifest(digest: Digest): Promise<Uint8Array>;
}

/**
 * Ask a policy.
 * @throws ImgfsError `denied` with every reason why not; `config` for a key that cannot be read; `unsupported` without
 *   gpgv.
 */
export async function verifyByPolicy(
  policy: Policy,
  thing: VerifiedThing,
  options: CallOptions = {},
): Promise<Verdict> {
  const { scope, requirements } = requirementsFor(policy, thing.subject);
  const reasons: string[] = [];
  let manifestDigest = thing.digests[0];
  for (const requirement of requirements) {
    const { reason, digest } = await meets(requirement, thing, scope, options);
    reasons.push(reason);
    manifestDigest = digest ?? manifestDigest;
  }
  if (manifestDigest === undefined) throw new ImgfsError('internal', 'verify: an image without a digest');
  return { scope, manifestDigest, reasons };
}

interface Met {
  readonly reason: string;
  readonly digest?: Digest;
}

async function meets(
  requirement: PolicyRequirement,
  thing: VerifiedThing,
  scope: string,
  options: CallOptions,
): Promise<Met> {
  switch (requirement.type) {
    case 'insecureAcceptAnything':
      return { reason: 'the policy accepts anything here' };
    case 'reject':
      throw denied(thing, scope, ['the policy rejects it']);
    case 'signedBy':
    case 'sigstoreSigned':
      return signed(requirement, thing, scope, options);
    case 'notationSigned':
      return notationSigned(requirement.authorities, thing, scope);
  }
}

type SignedRequirement = Extract<PolicyRequirement, { readonly keys: PolicyKeys }>;

async function signed(
  requirement: SignedRequirement,
  thing: VerifiedThing,
  scope: string,
  options: CallOptions,
): Promise<Met> {
  const keys = await loadKeys(requirement.keys);
  const wanted = requirement.type === 'signedBy' ? 'simple-signing' : 'sigstore';
  const failures: string[] = [];
  for (const signature of thing.signatures) {
    const isBundle = signature.format === 'sigstore-bundle' && acceptsBundles(requirement);
    if (signature.format !== wanted && !isBundle) continue;
    try {
      if (isBundle) return await bundleMet(signature.payload, keys, thing);
      const { payload, by } = await checked(signature, keys, options);
      const problem = problemWith(payload, requirement, thing);
      if (problem === undefined)
        return { reason: `signed as ${payload.reference} by ${by}`, digest: payload.manifestDigest };
      failures.push(problem);
    } catch (error) {
      if (isImgfsError(error, 'integrity') || isImgfsError(error, 'invalid-content'))
        failures.push(error.message);
      else throw error;
    }
  }
  throw denied(
    thing,
    scope,
    failures.length === 0 ? [`it has no ${wanted} signature`, ...notLookedAt(thing, wanted)] : failures,
  );
}

/** What an image has instead: nobody is to think that it was checked. */
function notLookedAt({ signatures }: VerifiedThing, wanted: ImageSignature['format']): readonly string[] {
  const others = signatures.filter(({ format }) => format !== wanted).map(({ format }) => format);
  return [...new Set(others)].map((format) => `its ${format} signatures were not looked at`);
}

async function notationSigned(authorities: PolicyKeys, thing: VerifiedThing, scope: string): Promise<Met> {
  const trusted = (await loadKeys(authorities)).flatMap(({ bytes, where }) =>
    parseCertificates(bytes, where),
  );
  const failures: string[] = [];
  for (const signature of thing.signatures) {
    if (signature.format !== 'notation') continue;
    try {
      const { manifestDigest, signer } = verifyNotation(signature, trusted, thing.digests);
      return {
        reason: `signed by ${signer}, in a notation envelope; nobody was asked whether its certificates were revoked`,
        digest: manifestDigest,
      };
    } catch (error) {
      if (!isImgfsError(error)) throw error;
      failures.push(error.message);
    }
  }
  throw denied(
    thing,
    scope,
    failures.length === 0 ? ['it has no notation signature', ...notLookedAt(thing, 'notation')] : failures,
  );
}

/** Policies of containers/image know no bundles, which name no image: they count for who asks about a key alone. */
function acceptsBundles(requirement: SignedRequirement): boolean {
  return requirement.type === 'sigstoreSigned' && requirement.bundles === true;
}

async function bundleMet(bytes: Uint8Array, keys: readonly LoadedKey[], thing: VerifiedThing): Promise<Met> {
  let failure = new ImgfsError('integrity', 'a bundle, and no key');
  for (const { bytes: pem, where } of keys) {
    try {
      const { manifestDigest, predicateType } = await verifyBundle(bytes, parsePublicKey(pem, where), thing);
      const said = predicateType === undefined ? 'signed' : `a statement (${predicateType})`;
      return { reason: `${said} by ${where}, in a sigstore bundle`, digest: manifestDigest };
    } catch (error) {
      if (!isImgfsError(error, 'integrity')) throw error;
      failure = error;
    }
  }
  throw failure;
}

interface Checked {
  readonly payload: SignaturePayload;
  readonly by: string;
}

interface LoadedKey {
  readonly where: string;
  readonly bytes: Uint8Array;
}

/** The claim of a signature that a key has made. @throws ImgfsError `integrity`, `invalid-content`. */
async function checked(
  signature: ImageSignature,
  keys: readonly LoadedKey[],
  options: CallOptions,
): Promise<Checked> {
  if (signature.format === 'simple-signing') {
    const { content, fingerprint } = await verifyOpenPgp(
      signature.message,
      keys.map(({ bytes }) => bytes),
      options,
    );
    return { payload: parseSignaturePayload(content), by: `OpenPGP key ${fingerprint}` };
  }
  if (signature.format !== 'sigstore') throw new ImgfsError('internal', 'a signature of no known format');
  const key = keys.find(({ bytes, where }) =>
    isSignedBy(parsePublicKey(bytes, where), signature.payload, signature.signature),
  );
  if (key === undefined)
    throw new ImgfsError('integrity', 'a signature by none of the keys, or over other bytes');
  return { payload: parseSignaturePayload(signature.payload), by: key.where };
}

function problemWith(
  payload: SignaturePayload,
  { type, signedIdentity }: SignedRequirement,
  { subject, digests }: VerifiedThing,
): string | undefined {
  const expected = type === 'signedBy' ? 'atomic container signature' : 'cosign container image signature';
  if (payload.type !== expected) return `a signature of type ${JSON.stringify(payload.type)}`;
  if (!digests.includes(payload.manifestDigest)) return `a signature over ${payload.manifestDigest}`;
  if (!identityMatches(signedIdentity, payload.reference, subject))
    return `a signature for ${JSON.stringify(payload.reference)}, which ${signedIdentity.type} does not match`;
  return undefined;
}

function denied({ subject, digests }: VerifiedThing, scope: string, reasons: readonly string[]): ImgfsError {
  const name = `${subject.name}${subject.tag === undefined ? '' : `:${subject.tag}`}`;
  return new ImgfsError('denied', `verify ${name} (${digests[0] ?? ''}) by ${scope}: ${reasons.join('; ')}`, {
    reference: name,
    hint: 'sign the image, or change the policy for this scope',
  });
}

async function loadKeys({ paths, data }: PolicyKeys): Promise<readonly LoadedKey[]> {
  const read = paths.map(async (path) => ({
    where: path,
    bytes: await readFile(path).catch((error: unknown) => {
      throw new ImgfsError('config', `read key ${path}: it cannot be read`, { path, cause: error });
    }),
  }));
  const embedded = data.map((bytes, at) => ({ where: `keyData ${at}`, bytes }));
  return [...(await Promise.all(read)), ...embedded];
}

/**
 * A policy of one requirement, for a key given on the command line. Without a name that it must be signed as, sigstore
 * bundles count as well.
 */
export function policyForKeys(
  type: 'signedBy' | 'sigstoreSigned',
  paths: readonly string[],
  identity?: SignedRequirement['signedIdentity'],
): Policy {
  const keys = { paths, data: [] };
  const signedIdentity = identity ?? { type: 'matchRepository' };
  const requirement: PolicyRequirement =
    type === 'sigstoreSigned' && identity === undefined
      ? { type, keys, signedIdentity, bundles: true }
      : { type, keys, signedIdentity };
  return { default: [requirement], transports: new Map() };
}

/** A policy of one requirement: a notation signature by a certificate of one of these authorities (files in PEM). */
export function policyForAuthorities(paths: readonly string[]): Policy {
  const authorities = { paths, data: [] };
  return { default: [{ type: 'notationSigned', authorities }], transports: new Map() };
}
