/**
 * The fallback tag of referrers, kept by clients (distribution-spec "Referrers Tag Schema"): an index read, changed and
 * written back. Registries offer no lock: within this process changes queue up per tag, and after writing the tag is
 * read again to see whether another client wrote in between.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import type { CallOptions } from '../store.js';
import type { RegistryClient } from './client.js';
import { discardBody } from './http/read-body.js';
import { referrersTag, type Referrers } from './referrers.js';

/** Rounds of read, write, check: each loses only to another client that wrote in the same moment. */
const maxRounds = 5;

export class ReferrersTag {
  readonly #client: RegistryClient;
  readonly #referrers: Referrers;
  readonly #queues = new Map<string, Promise<void>>();

  constructor(client: RegistryClient, referrers: Referrers) {
    this.#client = client;
    this.#referrers = referrers;
  }

  /** List `descriptor` as a referrer of `subject`. */
  add(repository: string, subject: Digest, descriptor: Descriptor, options: CallOptions): Promise<void> {
    return this.#change(repository, subject, options, (list) =>
      list.some(({ digest }) => digest === descriptor.digest) ? undefined : [...list, descriptor],
    );
  }

  /** Take `digest` off the referrers of `subject`. */
  remove(repository: string, subject: Digest, digest: Digest, options: CallOptions): Promise<void> {
    return this.#change(repository, subject, options, (list) => {
      const rest = list.filter((descriptor) => descriptor.digest !== digest);
      return rest.length === list.length ? undefined : rest;
    });
  }

  async #change(
    repository: string,
    subject: Digest,
    options: CallOptions,
    change: (list: Descriptor[]) => Descriptor[] | undefined,
  ): Promise<void> {
    const key = `${repository}:${referrersTag(subject)}`;
    const before = this.#queues.get(key) ?? Promise.resolve();
    const mine = before.then(() => this.#rounds(repository, subject, options, change));
    const settled = mine.catch(() => undefined);
    this.#queues.set(key, settled);
    try {
      await mine;
    } finally {
      if (this.#queues.get(key) === settled) this.#queues.delete(key);
    }
  }

  async #rounds(
    repository: string,
    subject: Digest,
    options: CallOptions,
    change: (list: Descriptor[]) => Descriptor[] | undefined,
  ): Promise<void> {
    for (let round = 0; round < maxRounds; round += 1) {
      const list = await this.#referrers.readTag(repository, subject, options);
      const changed = change(list);
      if (changed === undefined) return;
      await this.#write(repository, subject, changed, options);
    }
    // The last round wrote, and nobody has looked since.
    if (change(await this.#referrers.readTag(repository, subject, options)) === undefined) return;
    throw new ImgfsError(
      'unavailable',
      `keep referrers of ${subject}: other clients keep changing the list`,
      {
        reference: `${this.#client.registry}/${repository}:${referrersTag(subject)}`,
        hint: 'try again',
      },
    );
  }

  async #write(
    repository: string,
    subject: Digest,
    manifests: readonly Descriptor[],
    { signal }: CallOptions,
  ): Promise<void> {
    const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
    const tag = referrersTag(subject);
    const reply = await this.#client.send({
      ...(signal === undefined ? {} : { signal }),
      operation: 'keep referrers',
      method: 'PUT',
      repository,
      path: `/manifests/${tag}`,
      capability: 'push',
      access: 'push',
      headers: { 'content-type': mediaTypes.ociIndex },
      body: Buffer.from(JSON.stringify(index)),
      expect: [200, 201, 202],
      context: { reference: `${this.#client.registry}/${repository}:${tag}`, digest: subject },
    });
    await discardBody(reply.body);
  }
}
