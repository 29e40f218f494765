/** Referrers: the API (distribution-spec end-12a, end-12b), and the tag that stands in for it on older registries. */
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, digestHex, isDigest, type Digest } from '../../oci/digest.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { baseMediaType, mediaTypes } from '../../oci/media-type.js';
import type { CallOptions, ReferrersOptions } from '../store.js';
import type { Call, RegistryClient, Reply } from './client.js';
import { headerValue } from './http/headers.js';
import { discardBody, readBody } from './http/read-body.js';
import { manifestAccept } from './manifests.js';
import { fetchNextPage, nextPage } from './next-page.js';
import { caps } from './options.js';

/** Pages of one answer; each is up to 4 MiB. */
const maxPages = 100;
/** Statuses by which registries without the API answer (go-containerregistry's list and 405, 501). */
const apiMissing = [400, 404, 405, 406, 501];
/** A registry is upgraded now and then: the API is asked for again after this. */
const memoryMs = 10 * 60_000;

/** The tag under which clients keep the index of referrers: algorithm cut to 32, encoded part to 64 characters. */
export function referrersTag(subject: Digest): string {
  return `${digestAlgorithm(subject).slice(0, 32)}-${digestHex(subject).slice(0, 64)}`;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function annotationsOf(value: unknown): Record<string, string> | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function descriptorOf(value: unknown): Descriptor | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { mediaType, digest, size, artifactType, annotations } = value as Record<string, unknown>;
  if (typeof mediaType !== 'string' || !isDigest(digest)) return undefined;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined;
  const type = text(artifactType);
  const notes = annotationsOf(annotations);
  return {
    mediaType,
    digest,
    size,
    ...(type === undefined ? {} : { artifactType: type }),
    ...(notes === undefined ? {} : { annotations: notes }),
  };
}

/** Descriptors of an index; those that are malformed are left out. @throws ImgfsError `protocol` for no index. */
export function parseReferrers(bytes: Uint8Array, operation: string, host: string): Descriptor[] {
  let parsed: unknown;
  try {
    parsed = parseUntrustedJson(bytes, { what: 'referrers', maxBytes: caps.referrersBytes });
  } catch (cause) {
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    throw new ImgfsError('protocol', `${operation} from ${host}: the answer is not the JSON expected${why}`, {
      operation,
      host,
      cause,
    });
  }
  const manifests =
    typeof parsed === 'object' && parsed !== null
      ? (parsed as Record<string, unknown>)['manifests']
      : undefined;
  if (!Array.isArray(manifests)) {
    throw new ImgfsError('protocol', `${operation} from ${host}: the answer is no index`, {
      operation,
      host,
    });
  }
  return manifests.map(descriptorOf).filter((descriptor) => descriptor !== undefined);
}

export class Referrers {
  readonly #client: RegistryClient;
  /** When an endpoint was found to lack the API, by origin. */
  readonly #missingSince = new Map<string, number>();

  constructor(client: RegistryClient) {
    this.#client = client;
  }

  /** Every manifest that names `subject`, once each. Nothing when there are none. */
  async *find(repository: string, subject: Digest, options: ReferrersOptions): AsyncGenerator<Descriptor> {
    const seen = new Set<string>();
    for await (const descriptor of this.#all(repository, subject, options)) {
      // The filter is a wish to the server; whether it was granted is seen here.
      const filtered = options.artifactType !== undefined && descriptor.artifactType !== options.artifactType;
      if (filtered || seen.has(descriptor.digest)) continue;
      seen.add(descriptor.digest);
      yield descriptor;
    }
  }

  /** Whether the registry lacks the API, as far as is known: then the tag must be kept right by clients. */
  lacksApi(origin: string): boolean {
    return (this.#missingSince.get(origin) ?? -Infinity) > Date.now() - memoryMs;
  }

  async *#all(repository: string, subject: Digest, options: ReferrersOptions): AsyncGenerator<Descriptor> {
    const endpoint = (await this.#client.endpoints(repository, 'resolve')).find(({ isOrigin }) => isOrigin);
    if (endpoint !== undefined && this.lacksApi(endpoint.origin)) {
      yield* await this.readTag(repository, subject, options);
      return;
    }
    const { artifactType } = options;
    const query = artifactType === undefined ? '' : `?artifactType=${encodeURIComponent(artifactType)}`;
    const call: Call = {
      ...signalOf(options),
      operation: 'list referrers',
      method: 'GET',
      repository,
      path: `/referrers/${subject}${query}`,
      capability: 'resolve',
      access: 'pull',
      headers: { accept: mediaTypes.ociIndex },
      expect: [200, ...apiMissing],
      context: { reference: `${this.#client.registry}/${repository}@${subject}`, digest: subject },
    };
    let reply = await this.#client.send(call);
    if (!isIndex(reply)) {
      await discardBody(reply.body);
      // A 404 proves it; other answers may have been about this one request.
      if (reply.status === 404) this.#missingSince.set(reply.endpoint.origin, Date.now());
      yield* await this.readTag(repository, subject, options);
      return;
    }
    for (let pages = 1; ; pages += 1) {
      const bytes = await readBody(
        reply.body,
        caps.referrersBytes,
        this.#client.options.callTimeoutMs,
        reply.context,
      );
      yield* parseReferrers(bytes, 'list referrers', reply.url.host);
      const next = nextPage(this.#client, reply);
      if (next === undefined) return;
      if (pages >= maxPages) {
        throw new ImgfsError('protocol', `list referrers: no end after ${pages} pages`, reply.context);
      }
      reply = await fetchNextPage(this.#client, reply, next, { ...call, expect: [200] });
    }
  }

  /** The index behind the fallback tag; nothing when there is no such tag. */
  async readTag(repository: string, subject: Digest, options: CallOptions): Promise<Descriptor[]> {
    const tag = referrersTag(subject);
    try {
      const reply = await this.#client.send({
        ...signalOf(options),
        operation: 'list referrers',
        method: 'GET',
        repository,
        path: `/manifests/${tag}`,
        capability: 'resolve',
        access: 'pull',
        headers: { accept: manifestAccept },
        expect: [200],
        context: { reference: `${this.#client.registry}/${repository}:${tag}`, digest: subject },
      });
      const bytes = await readBody(
        reply.body,
        caps.referrersBytes,
        this.#client.options.callTimeoutMs,
        reply.context,
      );
      return parseReferrers(bytes, 'list referrers', reply.url.host);
    } catch (error) {
      if (isImgfsError(error, 'not-found')) return [];
      throw toImgfsError(error);
    }
  }
}

/** An API that is not there may also answer 200 with a web page. */
function isIndex(reply: Reply): boolean {
  if (reply.status !== 200) return false;
  const mediaType = baseMediaType(headerValue(reply.headers, 'content-type') ?? '');
  return mediaType === mediaTypes.ociIndex || mediaType === 'application/json' || mediaType === '';
}

function signalOf({ signal, priority }: CallOptions): CallOptions {
  return { ...(signal === undefined ? {} : { signal }), ...(priority === undefined ? {} : { priority }) };
}
