/** Deleting (distribution-spec end-9, end-10), which every registry refuses in its own way. */
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import { isTag } from '../../oci/reference.js';
import type { CallOptions } from '../store.js';
import type { RegistryClient, Reply } from './client.js';
import { discardBody, readBody } from './http/read-body.js';
import { specCodeOf } from './http/spec-error.js';
import { manifestAccept } from './manifests.js';
import { caps } from './options.js';
import { describeReferrer } from './put-manifest.js';
import type { ReferrersTag } from './referrers-tag.js';

const enableHint =
  'deleting must be enabled at the registry (docker-registry: REGISTRY_STORAGE_DELETE_ENABLED=true)';

interface DeletePlan {
  readonly operation: string;
  readonly repository: string;
  readonly path: string;
  readonly reference: string;
  readonly hint: string;
}

async function send(client: RegistryClient, plan: DeletePlan, options: CallOptions): Promise<void> {
  const { operation, repository, path, reference, hint } = plan;
  const call = {
    ...options,
    operation,
    method: 'DELETE',
    repository,
    path,
    capability: 'push',
    access: 'everything',
    expect: [200, 202, 204, 404],
    context: { reference },
  } as const;
  let reply: Reply;
  try {
    reply = await client.send(call);
  } catch (thrown) {
    const error = toImgfsError(thrown);
    const { status } = error.context;
    const refused = status === 405 || status === 501 || specCodeOf(error) === 'UNSUPPORTED';
    // docker-registry 2.8 takes a tag for a digest that is malformed.
    if (!refused && !(status === 400 && specCodeOf(error) === 'DIGEST_INVALID')) throw error;
    throw new ImgfsError('unsupported', `${operation} ${reference}: the registry does not do it`, {
      ...error.context,
      cause: error,
      hint,
    });
  }
  await discardBody(reply.body);
  // Gone at a second attempt: the answer to the first was lost, not its effect.
  if (reply.status === 404 && reply.retried === 0) {
    throw new ImgfsError(
      'not-found',
      `${operation} ${reference}: the registry does not have it`,
      reply.context,
    );
  }
}

export class Deletes {
  readonly #client: RegistryClient;
  readonly #referrersTag: ReferrersTag;
  readonly #lacksReferrers: (origin: string) => boolean;

  constructor(
    client: RegistryClient,
    referrersTag: ReferrersTag,
    lacksReferrers: (origin: string) => boolean,
  ) {
    this.#client = client;
    this.#referrersTag = referrersTag;
    this.#lacksReferrers = lacksReferrers;
  }

  /** @throws ImgfsError `unsupported` where a registry deletes by digest only. */
  async tag(repository: string, tag: string, options: CallOptions): Promise<void> {
    if (!isTag(tag)) throw new ImgfsError('name-invalid', `delete tag: ${JSON.stringify(tag)} is not a tag`);
    const plan = {
      operation: 'delete tag',
      repository,
      path: `/manifests/${tag}`,
      reference: `${this.#client.registry}/${repository}:${tag}`,
      hint: 'this registry deletes manifests by digest only, with all their tags: delete the digest instead',
    };
    await send(this.#client, plan, options);
  }

  /** Deletes a manifest with all its tags; where clients keep the referrers of its subject, it is taken off there. */
  async manifest(repository: string, digest: Digest, options: CallOptions): Promise<void> {
    const subject = await this.#subjectOf(repository, digest, options);
    const plan = {
      operation: 'delete manifest',
      repository,
      path: `/manifests/${digest}`,
      reference: `${this.#client.registry}/${repository}@${digest}`,
      hint: enableHint,
    };
    await send(this.#client, plan, options);
    if (subject !== undefined) await this.#referrersTag.remove(repository, subject, digest, options);
  }

  async blob(repository: string, digest: Digest, options: CallOptions): Promise<void> {
    const plan = {
      operation: 'delete blob',
      repository,
      path: `/blobs/${digest}`,
      reference: `${this.#client.registry}/${repository}@${digest}`,
      hint: enableHint,
    };
    await send(this.#client, plan, options);
  }

  /** Subject of a manifest, asked for only where the registry is known not to keep referrers itself. */
  async #subjectOf(repository: string, digest: Digest, options: CallOptions): Promise<Digest | undefined> {
    const [endpoint] = await this.#client.endpoints(repository, 'push');
    if (endpoint === undefined || !this.#lacksReferrers(endpoint.origin)) return undefined;
    try {
      const reply = await this.#client.send({
        ...options,
        operation: 'read subject',
        method: 'GET',
        repository,
        path: `/manifests/${digest}`,
        capability: 'pull',
        access: 'pull',
        headers: { accept: manifestAccept },
        expect: [200],
      });
      const bytes = await readBody(
        reply.body,
        caps.manifestBytes,
        this.#client.options.callTimeoutMs,
        reply.context,
      );
      return describeReferrer(bytes, { mediaType: '', digest, size: bytes.length })?.subject;
    } catch (error) {
      if (isImgfsError(error, 'not-found')) return undefined;
      throw error;
    }
  }
}
