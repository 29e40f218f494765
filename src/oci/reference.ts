/**
 * Image references: `[registry[:port]/]name[/name…][:tag][@digest]`
 * (distribution's reference grammar; Docker Hub's rules: default registry `docker.io`, `library/` for one-word
 * names, `index.docker.io` is the same registry).
 */
import { isIPv6 } from 'node:net';
import { ImgfsError } from '../errors/imgfs-error.js';
import { isDigest, type Digest } from './digest.js';

/** The registry that a name without a host means. */
export const dockerHub = 'docker.io';

/** A name of an image, in its parts. */
export interface Reference {
  /** Host with optional port, as written: `docker.io`, `localhost:5000`, `[::1]:5000`. Lower case. */
  readonly registry: string;
  /** `library/alpine`. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/** distribution: the name without its host is at most 255 characters. */
export const maxRepositoryLength = 255;

const component = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const hostPattern =
  /^(?:\[([0-9a-fA-F:]{2,39})\]|[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)(?::([0-9]{1,5}))?$/;
/** A digest without its algorithm: `docker` takes it for an image id, never for a name. */
const bareHexDigest = /^[0-9a-f]{64}$/;

/** True for one component of a repository name. */
export function isRepositoryComponent(text: string): boolean {
  return component.test(text);
}

/** True for a whole repository name, without host. */
export function isRepositoryName(text: string): boolean {
  return (
    text.length > 0 && text.length <= maxRepositoryLength && text.split('/').every(isRepositoryComponent)
  );
}

/** True for a legal tag. */
export function isTag(text: string): boolean {
  return tagPattern.test(text);
}

/** True for `host[:port]` that can name a registry: a dot, a port, or `localhost`, as in Docker's rule. */
export function isRegistryHost(text: string): boolean {
  if (text.length > 261) return false;
  const match = hostPattern.exec(text);
  if (match === null) return false;
  const [, address, port] = match;
  if (address !== undefined && !isIPv6(address)) return false;
  if (port !== undefined && Number(port) > 65535) return false;
  return address !== undefined || text.includes('.') || port !== undefined || text === 'localhost';
}

/** One spelling for each registry: lower case, Docker Hub's aliases folded. */
export function normalizeRegistry(host: string): string {
  const lower = host.toLowerCase();
  return lower === 'index.docker.io' ||
    lower === 'registry-1.docker.io' ||
    lower === 'registry.hub.docker.com'
    ? dockerHub
    : lower;
}

function splitRegistry(name: string): { registry: string; rest: string } {
  const slash = name.indexOf('/');
  const head = slash < 0 ? '' : name.slice(0, slash);
  if (slash >= 0 && isRegistryHost(head)) {
    return { registry: normalizeRegistry(head), rest: name.slice(slash + 1) };
  }
  return { registry: dockerHub, rest: name };
}

function refuse(text: string, why: string): never {
  throw new ImgfsError(
    'name-invalid',
    `not an image reference: ${JSON.stringify(text.slice(0, 300))}: ${why}`,
    {
      hint: 'references look like registry.example:5000/group/name:tag or name@sha256:<hex>',
    },
  );
}

/**
 * Parse a reference.
 * @throws ImgfsError `name-invalid`, saying which part is wrong.
 */
export function parseReference(text: string): Reference {
  if (bareHexDigest.test(text)) refuse(text, 'a digest without its algorithm');
  let name = text;
  let digest: Digest | undefined;
  let tag: string | undefined;
  const at = name.indexOf('@');
  if (at >= 0) {
    const candidate = name.slice(at + 1);
    if (!isDigest(candidate))
      refuse(text, `${JSON.stringify(candidate.slice(0, 150))} is not a known digest`);
    digest = candidate;
    name = name.slice(0, at);
  }
  const colon = name.lastIndexOf(':');
  if (colon > name.lastIndexOf('/')) {
    tag = name.slice(colon + 1);
    if (!isTag(tag)) refuse(text, `${JSON.stringify(tag.slice(0, 150))} is not a tag`);
    name = name.slice(0, colon);
  }
  const { registry, rest } = splitRegistry(name);
  const repository = registry === dockerHub && rest !== '' && !rest.includes('/') ? `library/${rest}` : rest;
  if (repository === '') refuse(text, 'the repository is missing');
  if (!isRepositoryName(repository)) {
    refuse(
      text,
      rest === rest.toLowerCase()
        ? `${JSON.stringify(rest.slice(0, 300))} is not a repository name`
        : 'repository names are lower case',
    );
  }
  return {
    registry,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The fully expanded form: `docker.io/library/alpine:3.20`. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.registry}/${reference.repository}${tag}${digest}`;
}

/** With `latest` where neither tag nor digest was given. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined
    ? { ...reference, tag: 'latest' }
    : reference;
}
