/**
 * `policy.json` (containers-policy.json(5)): which signatures an image must have. Read strictly, as containers/image
 * does: a word that is not understood may be one that forbids.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import {
  asObject,
  field,
  optionalArray,
  optionalString,
  optionalStrings,
  type JsonObject,
} from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { parseFullName } from '../../store/image-name.js';
import type { TransportName } from '../../store/store.js';

/** Which name a signature must be for. */
export type SignedIdentity =
  | { readonly type: 'matchExact' | 'matchRepoDigestOrExact' | 'matchRepository' }
  | { readonly type: 'exactReference'; readonly dockerReference: string }
  | { readonly type: 'exactRepository'; readonly dockerRepository: string }
  | { readonly type: 'remapIdentity'; readonly prefix: string; readonly signedPrefix: string };

/** Keys as the policy names them: paths of files, or the key itself. */
export interface PolicyKeys {
  readonly paths: readonly string[];
  readonly data: readonly Uint8Array[];
}

/** One requirement; an image must meet all of its scope. */
export type PolicyRequirement =
  | { readonly type: 'insecureAcceptAnything' }
  | { readonly type: 'reject' }
  | { readonly type: 'signedBy'; readonly keys: PolicyKeys; readonly signedIdentity: SignedIdentity }
  | {
      readonly type: 'sigstoreSigned';
      readonly keys: PolicyKeys;
      readonly signedIdentity: SignedIdentity;
      /** Bundles, which name no image, count too. No policy.json says so. */
      readonly bundles?: true;
    }
  /** Notation's, by certificates of these authorities. No policy.json says so. */
  | { readonly type: 'notationSigned'; readonly authorities: PolicyKeys };

/** A policy, ready to be asked. */
export interface Policy {
  readonly default: readonly PolicyRequirement[];
  /** Transport, scope, requirements. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly PolicyRequirement[]>>;
}

const maxPolicyBytes = 1024 * 1024;

/** @throws ImgfsError `config` naming the place that is not understood. */
export function parsePolicy(bytes: Uint8Array, path: string): Policy {
  try {
    const document = asObject(parseUntrustedJson(bytes, { what: path, maxBytes: maxPolicyBytes }), path);
    onlyKeys(document, ['default', 'transports'], path);
    const fallback = optionalArray(document, 'default', path);
    if (fallback === undefined) refuse(path, 'default is missing');
    const transports = new Map<string, ReadonlyMap<string, readonly PolicyRequirement[]>>();
    for (const [transport, scopes] of Object.entries(
      asObject(field(document, 'transports') ?? {}, `${path}.transports`),
    )) {
      const where = `${path}.transports.${transport}`;
      const byScope = Object.entries(asObject(scopes, where)).map(
        ([scope, list]) => [scope, requirements(list, `${where}[${JSON.stringify(scope)}]`)] as const,
      );
      transports.set(transport, new Map(byScope));
    }
    return { default: requirements(fallback, `${path}.default`), transports };
  } catch (error) {
    if (error instanceof ImgfsError && error.code !== 'config')
      throw new ImgfsError('config', error.message, {
        path,
        cause: error,
        hint: 'see containers-policy.json(5)',
      });
    throw error;
  }
}

function refuse(where: string, why: string): never {
  throw new ImgfsError('config', `${where}: ${why}`, { path: where, hint: 'see containers-policy.json(5)' });
}

function onlyKeys(object: JsonObject, known: readonly string[], where: string): void {
  for (const key of Object.keys(object))
    if (!known.includes(key)) refuse(where, `${JSON.stringify(key)} is not known`);
}

function requirements(value: unknown, where: string): readonly PolicyRequirement[] {
  if (!Array.isArray(value)) refuse(where, 'not a list of requirements');
  if (value.length === 0) refuse(where, 'an empty list accepts nothing and rejects nothing');
  return value.map((one, at) => requirement(asObject(one, `${where}[${at}]`), `${where}[${at}]`));
}

function requirement(object: JsonObject, where: string): PolicyRequirement {
  const type = optionalString(object, 'type', where) ?? refuse(where, 'type is missing');
  switch (type) {
    case 'insecureAcceptAnything':
    case 'reject':
      onlyKeys(object, ['type'], where);
      return { type };
    case 'signedBy': {
      onlyKeys(object, ['type', 'keyType', 'keyPath', 'keyPaths', 'keyData', 'signedIdentity'], where);
      const keyType = optionalString(object, 'keyType', where);
      if (keyType !== 'GPGKeys')
        refuse(where, `keyType ${JSON.stringify(keyType)} is not supported, GPGKeys is`);
      return { type, keys: keys(object, where), signedIdentity: identity(object, where) };
    }
    case 'sigstoreSigned':
      for (const key of [
        'fulcio',
        'rekorPublicKeyPath',
        'rekorPublicKeyData',
        'rekorPublicKeyPaths',
        'rekorPublicKeyDatas',
        'pki',
      ])
        if (field(object, key) !== undefined)
          refuse(where, `${key} is not supported: only keys are checked offline`);
      onlyKeys(object, ['type', 'keyPath', 'keyPaths', 'keyData', 'keyDatas', 'signedIdentity'], where);
      return { type, keys: keys(object, where), signedIdentity: identity(object, where) };
    default:
      return refuse(where, `requirement ${JSON.stringify(type)} is not supported`);
  }
}

function keys(object: JsonObject, where: string): PolicyKeys {
  const path = optionalString(object, 'keyPath', where);
  const single = optionalString(object, 'keyData', where);
  const paths = optionalStrings(object, 'keyPaths', where);
  const many = optionalStrings(object, 'keyDatas', where);
  const given = [path, single, paths, many].filter((one) => one !== undefined);
  if (given.length !== 1) refuse(where, 'exactly one of keyPath, keyPaths and keyData must be there');
  return {
    paths: path === undefined ? (paths ?? []) : [path],
    data: (single === undefined ? (many ?? []) : [single]).map((text) => Buffer.from(text, 'base64')),
  };
}

function identity(object: JsonObject, where: string): SignedIdentity {
  const value = field(object, 'signedIdentity');
  if (value === undefined) return { type: 'matchRepoDigestOrExact' };
  const place = `${where}.signedIdentity`;
  const document = asObject(value, place);
  const text = (key: string): string =>
    optionalString(document, key, place) ?? refuse(place, `${key} is missing`);
  const type = text('type');
  switch (type) {
    case 'matchExact':
    case 'matchRepoDigestOrExact':
    case 'matchRepository':
      onlyKeys(document, ['type'], place);
      return { type };
    case 'exactReference':
      onlyKeys(document, ['type', 'dockerReference'], place);
      return { type, dockerReference: text('dockerReference') };
    case 'exactRepository':
      onlyKeys(document, ['type', 'dockerRepository'], place);
      return { type, dockerRepository: text('dockerRepository') };
    case 'remapIdentity':
      onlyKeys(document, ['type', 'prefix', 'signedPrefix'], place);
      return { type, prefix: text('prefix'), signedPrefix: text('signedPrefix') };
    default:
      return refuse(place, `${JSON.stringify(type)} is not known`);
  }
}

/** An image as a policy sees it. */
export interface PolicySubject {
  readonly transport: TransportName;
  /** `registry/repository` for registries; the path for stores in files. */
  readonly name: string;
  /** Behind a colon: a tag, or the name in the store. */
  readonly tag?: string;
  readonly digest?: string;
}

/** The requirements of the most specific scope, and that scope; `''` is the default of all. */
export function requirementsFor(
  policy: Policy,
  subject: PolicySubject,
): { readonly scope: string; readonly requirements: readonly PolicyRequirement[] } {
  const scopes = policy.transports.get(subject.transport);
  for (const scope of scopes === undefined ? [] : scopesOf(subject)) {
    const found = scopes?.get(scope);
    if (found !== undefined) return { scope: `${subject.transport}:${scope}`, requirements: found };
  }
  return { scope: 'default', requirements: policy.default };
}

/** From the full name to the transport's default; hosts match `*.domain` too. */
function scopesOf({ transport, name, tag, digest }: PolicySubject): readonly string[] {
  const scopes = [
    ...(digest === undefined ? [] : [`${name}@${digest}`]),
    ...(tag === undefined ? [] : [`${name}:${tag}`]),
    name,
  ];
  for (let at = name.lastIndexOf('/'); at > 0; at = name.lastIndexOf('/', at - 1))
    scopes.push(name.slice(0, at));
  if (transport !== 'docker') return [...scopes, ''];
  const host = (name.split('/')[0] ?? '').replace(/:[0-9]+$/, '');
  for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1))
    scopes.push(`*${host.slice(dot)}`);
  return [...scopes, ''];
}

/** Whether a signature's name fits: `registry/repository` with `:tag` or `@digest`, both in full. */
export function identityMatches(identity: SignedIdentity, signed: string, subject: PolicySubject): boolean {
  switch (identity.type) {
    case 'matchExact':
      return subject.tag !== undefined && sameReference(signed, `${subject.name}:${subject.tag}`);
    case 'matchRepository':
      return repositoryIn(signed) === subject.name;
    case 'matchRepoDigestOrExact':
      return subject.tag === undefined
        ? repositoryIn(signed) === subject.name
        : sameReference(signed, `${subject.name}:${subject.tag}`);
    case 'exactReference':
      return sameReference(signed, identity.dockerReference);
    case 'exactRepository':
      return repositoryIn(signed) === repositoryIn(identity.dockerRepository);
    case 'remapIdentity': {
      const { prefix, signedPrefix } = identity;
      const { name } = subject;
      const remapped =
        name === prefix || name.startsWith(`${prefix}/`)
          ? { ...subject, name: `${signedPrefix}${name.slice(prefix.length)}` }
          : subject;
      return identityMatches({ type: 'matchRepoDigestOrExact' }, signed, remapped);
    }
  }
}

function repositoryIn(reference: string): string | undefined {
  return parseFullName(reference)?.repository;
}

/** Both have a tag, and are the same in full: a name without a tag is not one with `latest`. */
function sameReference(left: string, right: string): boolean {
  const [one, two] = [parseFullName(left), parseFullName(right)];
  if (one === undefined || two === undefined) return false;
  const tagged = (text: string): boolean =>
    text.lastIndexOf(':') > text.lastIndexOf('/') && !text.includes('@');
  return tagged(left) && tagged(right) && one.repository === two.repository && one.tag === two.tag;
}
