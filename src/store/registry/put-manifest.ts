/** Putting manifests (distribution-spec end-7a, end-7b), and the referrers tag of registries without the API. */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, digestOf, isDigest, type Digest } from '../../oci/digest.js';
import { isTag } from '../../oci/reference.js';
import type { PutManifestOptions } from '../store.js';
import type { RegistryClient, Reply } from './client.js';
import { headerValues } from './http/headers.js';
import { discardBody } from './http/read-body.js';
import { claimedDigest } from './manifests.js';
import type { ReferrersTag } from './referrers-tag.js';

/** Tags of one put: each may cost a request, and a URL of 128 tags is 17 KiB long. */
const maxTags = 128;

/** What was learnt of a registry while putting. */
export class ManifestPutter {
  readonly #client: RegistryClient;
  readonly #referrersTag: ReferrersTag;
  /** The registry takes `?tag=` for what it is (true) or ignores it (false). */
  #takesManyTags: boolean | undefined;

  constructor(client: RegistryClient, referrersTag: ReferrersTag) {
    this.#client = client;
    this.#referrersTag = referrersTag;
  }

  /**
   * Put a manifest under its digest or its tags. A tag appears whole or not at all.
   * @throws ImgfsError `invalid` when the registry refuses the manifest or lacks a blob of it; `integrity` when it
   *   stored something else.
   */
  async put(
    repository: string,
    bytes: Uint8Array,
    mediaType: string,
    options: PutManifestOptions,
  ): Promise<Descriptor> {
    const tags = [...new Set(options.tags ?? [])];
    const wrong = tags.find((tag) => !isTag(tag));
    if (wrong !== undefined)
      throw new ImgfsError('name-invalid', `put manifest: ${JSON.stringify(wrong)} is not a tag`);
    if (tags.length > maxTags) throw new ImgfsError('invalid', `put manifest: more than ${maxTags} tags`);
    const digest = digestOf(bytes, options.algorithm);
    const [first, ...others] = tags;
    const put = (name: string, extra: readonly string[]): Promise<Reply> =>
      this.#put(repository, { name, extra, bytes, mediaType, digest }, options);
    let reply: Reply;
    if (first === undefined || (others.length === 0 && digestAlgorithm(digest) === 'sha256')) {
      reply = await put(first ?? digest, []);
    } else {
      reply = await this.#putMany(tags, digest, put);
    }
    await this.#keepReferrersTag(
      repository,
      bytes,
      { mediaType, digest, size: bytes.length },
      reply,
      options,
    );
    return { mediaType, digest, size: bytes.length };
  }

  /** All tags in one request where the registry can, one request for each where it cannot. */
  async #putMany(
    tags: readonly string[],
    digest: Digest,
    put: (name: string, extra: readonly string[]) => Promise<Reply>,
  ): Promise<Reply> {
    let missing = tags;
    let reply: Reply | undefined;
    if (this.#takesManyTags !== false) {
      reply = await put(digest, tags);
      // A registry that knows the parameter names the tags it made; one that does not says nothing.
      const made = new Set(headerValues(reply.headers, 'oci-tag').flatMap((value) => value.split(/\s*,\s*/)));
      missing = tags.filter((tag) => !made.has(tag));
      this.#takesManyTags = missing.length < tags.length;
    }
    for (const tag of missing) reply = await put(tag, []);
    return reply as Reply;
  }

  async #put(
    repository: string,
    manifest: {
      name: string;
      extra: readonly string[];
      bytes: Uint8Array;
      mediaType: string;
      digest: Digest;
    },
    { signal, priority }: PutManifestOptions,
  ): Promise<Reply> {
    const { name, extra, bytes, mediaType, digest } = manifest;
    const query =
      extra.length === 0 ? '' : `?${extra.map((tag) => `tag=${encodeURIComponent(tag)}`).join('&')}`;
    const reply = await this.#client.send({
      ...(signal === undefined ? {} : { signal }),
      ...(priority === undefined ? {} : { priority }),
      operation: 'put manifest',
      method: 'PUT',
      repository,
      path: `/manifests/${name}${query}`,
      capability: 'push',
      access: 'push',
      headers: { 'content-type': mediaType },
      body: bytes,
      expect: [200, 201, 202],
      context: {
        reference: `${this.#client.registry}/${repository}${name === digest ? '@' : ':'}${name}`,
        digest,
      },
    });
    await discardBody(reply.body);
    const claimed = claimedDigest(reply);
    if (claimed !== undefined && claimed !== digest && digestAlgorithm(claimed) === digestAlgorithm(digest)) {
      throw new ImgfsError('integrity', `put manifest: ${reply.url.host} stored ${claimed}, not ${digest}`, {
        ...reply.context,
        hint: 'the registry changed the manifest: check the proxy in front of it',
      });
    }
    return reply;
  }

  /** A registry that knows referrers says so with `OCI-Subject`; for any other the client keeps the list. */
  async #keepReferrersTag(
    repository: string,
    bytes: Uint8Array,
    descriptor: Descriptor,
    reply: Reply,
    options: PutManifestOptions,
  ): Promise<void> {
    const referrer = describeReferrer(bytes, descriptor);
    if (referrer === undefined || headerValues(reply.headers, 'oci-subject').length > 0) return;
    try {
      await this.#referrersTag.add(repository, referrer.subject, referrer.descriptor, options);
    } catch (error) {
      if (isImgfsError(error, 'interrupted')) throw error;
      throw new ImgfsError(
        'unavailable',
        `put manifest: ${descriptor.digest} is stored, but not listed as a referrer of ${referrer.subject}`,
        { ...reply.context, cause: error, hint: 'put the manifest again' },
      );
    }
  }
}

/** Subject of a manifest, and the descriptor under which it is listed there; undefined without a subject. */
export function describeReferrer(
  bytes: Uint8Array,
  descriptor: Descriptor,
): { readonly subject: Digest; readonly descriptor: Descriptor } | undefined {
  let parsed: Record<string, unknown> | null;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown> | null;
  } catch {
    return undefined;
  }
  const field = (value: unknown, name: string): unknown =>
    typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
  const subject = field(field(parsed, 'subject'), 'digest');
  if (!isDigest(subject)) return undefined;
  // image-spec: without an artifactType, the media type of the config stands for it.
  const type = field(parsed, 'artifactType') ?? field(field(parsed, 'config'), 'mediaType');
  const annotations = field(parsed, 'annotations');
  return {
    subject,
    descriptor: {
      ...descriptor,
      ...(typeof type === 'string' && type !== '' ? { artifactType: type } : {}),
      ...(typeof annotations === 'object' && annotations !== null && !Array.isArray(annotations)
        ? { annotations: annotations as Record<string, string> }
        : {}),
    },
  };
}
