/**
 * The requests of one upload session (distribution-spec end-4a, end-5, end-6, end-13, end-14) and what is known of it:
 * its newest location, and how many bytes the registry has.
 *
 * Our own count is the truth as long as answers are good: registries report `0-0` for no byte and for one, ECR's
 * `Range` stands still, docker-registry 2.8 takes a chunk at any offset and appends it. After a failure the registry
 * is asked before anything is sent again.
 */
import { ImgfsError, isImgfsError, toImgfsError } from '../../../errors/imgfs-error.js';
import type { Descriptor } from '../../../oci/descriptor.js';
import { digestAlgorithm, type Digest, type DigestAlgorithm } from '../../../oci/digest.js';
import { mediaTypes } from '../../../oci/media-type.js';
import type { CallOptions } from '../../store.js';
import { statBlob } from '../blobs.js';
import type { Call, RegistryClient, Reply } from '../client.js';
import type { Endpoint } from '../endpoint.js';
import { parseUploadRange } from '../http/content-range.js';
import { headerValue } from '../http/headers.js';
import { discardBody } from '../http/read-body.js';
import type { RequestBody } from '../http/request-body.js';
import { backoffMs, mayRetry, sleep } from '../http/retry.js';
import { claimedDigest } from '../manifests.js';
import { caps } from '../options.js';
import { commitUrl, uploadLocation } from './location.js';
import type { UploadState } from './resume-token.js';

/** Most bytes of a PATCH where a registry is known to take fewer than we like to send. */
const knownChunkLimits: Readonly<Record<string, number>> = { 'ghcr.io': 4 * 1024 * 1024 };
/** No registry or proxy takes less (nginx's default is 1 MiB): a refusal at this size is not about the size. */
const minChunkBytes = 512 * 1024;

/**
 * Failures of all kinds that one `append` bears, progress or not: with 8 MiB in chunks of 512 KiB each of the 16 may
 * fail once, and the size be halved 4 times. A server that takes bytes and then denies them must come to an end.
 */
const maxSetbacks = 20;

export class UploadSession {
  readonly #client: RegistryClient;
  readonly #endpoint: Endpoint;
  readonly #repository: string;
  readonly algorithm: DigestAlgorithm;
  id = '';
  startedAt = new Date();
  /** Bytes that the registry has, as far as is known. */
  offset = 0;
  /** Bytes of one PATCH. */
  chunkBytes: number;
  #location: URL;
  /** The registry's `Range` was seen to lag behind what it has stored: it proves nothing. */
  #rangeLies = false;

  private constructor(
    client: RegistryClient,
    endpoint: Endpoint,
    repository: string,
    algorithm: DigestAlgorithm,
    location: URL,
  ) {
    this.#client = client;
    this.#endpoint = endpoint;
    this.#repository = repository;
    this.algorithm = algorithm;
    this.#location = location;
    this.chunkBytes = Math.min(
      client.options.chunkBytes,
      knownChunkLimits[client.registry] ?? caps.chunkBytes,
    );
  }

  /** Open a session. @throws ImgfsError `denied`, `unauthorized`, `not-found` where a repository must exist first. */
  static async start(
    client: RegistryClient,
    repository: string,
    algorithm: DigestAlgorithm,
    options: CallOptions,
  ): Promise<UploadSession> {
    const session = await UploadSession.prepare(client, repository, algorithm);
    await session.open(options);
    return session;
  }

  /** A session that is not open yet; nothing is sent. */
  static async prepare(
    client: RegistryClient,
    repository: string,
    algorithm: DigestAlgorithm,
  ): Promise<UploadSession> {
    const [endpoint] = await client.endpoints(repository, 'push');
    const placeholder = client.urlOf(endpoint as Endpoint, '/blobs/uploads/');
    return new UploadSession(client, endpoint as Endpoint, repository, algorithm, placeholder);
  }

  /** Take up a session known from before; nothing is sent. */
  static async restore(client: RegistryClient, state: UploadState): Promise<UploadSession> {
    const location = new URL(state.location);
    const endpoints = await client.endpoints(state.repository, 'push');
    const endpoint = endpoints.find(
      (candidate) => client.urlOf(candidate, '/').hostname === location.hostname,
    );
    if (endpoint === undefined) {
      throw new ImgfsError(
        'invalid',
        `resume upload: ${location.host} is not an endpoint of ${client.registry}`,
        {
          host: location.host,
          hint: 'start the upload anew',
        },
      );
    }
    const here = new URL(location.pathname + location.search, client.urlOf(endpoint, '/').origin);
    const session = new UploadSession(client, endpoint, state.repository, state.algorithm, here);
    session.id = state.id;
    session.offset = state.offset;
    session.startedAt = new Date(state.startedAt);
    session.chunkBytes = Math.min(state.chunkBytes, caps.chunkBytes);
    return session;
  }

  get state(): UploadState {
    return {
      registry: this.#client.registry,
      repository: this.#repository,
      location: this.#location.href,
      offset: this.offset,
      id: this.id,
      startedAt: this.startedAt.getTime(),
      algorithm: this.algorithm,
      chunkBytes: this.chunkBytes,
    };
  }

  /** POST: a new session, also in place of one that was lost before any byte was confirmed. */
  async open(options: CallOptions): Promise<void> {
    // Registries that do not know the parameter ignore it (docker-registry 2.8).
    const query = this.algorithm === 'sha256' ? '' : `?digest-algorithm=${this.algorithm}`;
    const reply = await this.#client.sendTo(this.#endpoint, {
      ...this.#call('start upload', 'POST', options),
      path: `/blobs/uploads/${query}`,
      body: new Uint8Array(0),
      expect: [202],
      hint: 'check that you may push there; some registries want the repository to be created first',
    });
    await discardBody(reply.body);
    this.#begin(reply);
  }

  /** POST with all bytes: the blob, or undefined when the registry opened a session instead. */
  async post(digest: Digest, bytes: Uint8Array, options: CallOptions): Promise<Descriptor | undefined> {
    const reply = await this.#client.sendTo(this.#endpoint, {
      ...this.#call('put blob', 'POST', options),
      path: `/blobs/uploads/?digest=${encodeURIComponent(digest)}`,
      headers: { 'content-type': mediaTypes.octetStream },
      body: bytes,
      expect: [201, 202],
      context: { digest, reference: `${this.#client.registry}/${this.#repository}@${digest}` },
    });
    await discardBody(reply.body);
    if (reply.status === 202) {
      this.#begin(reply);
      return undefined;
    }
    assertClaimed(reply, digest);
    return { mediaType: mediaTypes.octetStream, digest, size: bytes.length };
  }

  /** Take over what the registry says of a new session. */
  #begin(reply: Reply): void {
    const location = uploadLocation(this.#client, reply);
    if (location === undefined) {
      throw new ImgfsError(
        'protocol',
        `start upload: ${reply.url.host} names no location for it`,
        reply.context,
      );
    }
    this.#location = location;
    this.offset = 0;
    this.id =
      headerValue(reply.headers, 'docker-upload-uuid')?.slice(0, 200) ??
      location.pathname.split('/').at(-1) ??
      '';
    const least = Number(headerValue(reply.headers, 'oci-chunk-min-length') ?? 0);
    if (Number.isSafeInteger(least) && least > this.chunkBytes)
      this.chunkBytes = Math.min(least, caps.chunkBytes);
  }

  /**
   * Send bytes that follow `offset`; returns when the registry has them all.
   * @throws ImgfsError `stale` when the session is lost or bytes before these are: start anew.
   */
  async append(bytes: RequestBody, options: CallOptions): Promise<void> {
    const start = this.offset;
    const end = start + bytes.length;
    let failures = 0;
    for (let setbacks = 0; this.offset < end;) {
      const before = this.offset;
      try {
        await this.#patch(bytes.subarray(before - start, before - start + this.chunkBytes), options);
        failures = 0;
      } catch (thrown) {
        const error = toImgfsError(thrown);
        setbacks += 1;
        if (setbacks > maxSetbacks) throw error;
        if (await this.#recover(error, { start, end, failures }, options)) failures += 1;
      }
    }
  }

  async #patch(piece: RequestBody, options: CallOptions): Promise<void> {
    const reply = await this.#client.sendTo(this.#endpoint, {
      ...this.#call('upload chunk', 'PATCH', options),
      url: this.#location,
      headers: {
        'content-type': mediaTypes.octetStream,
        'content-range': `${this.offset}-${this.offset + piece.length - 1}`,
      },
      body: piece,
      idempotent: false,
      // 201 and 204 are ECR's.
      expect: [201, 202, 204],
    });
    await discardBody(reply.body);
    this.#location = uploadLocation(this.#client, reply) ?? this.#location;
    this.offset += piece.length;
    const told = parseUploadRange(headerValue(reply.headers, 'range'));
    if (told !== undefined && told < this.offset) this.#rangeLies = true;
  }

  /**
   * After a failed PATCH: find out how far the registry is, or make chunks smaller. True when it counts as a failure.
   * @throws ImgfsError the error itself when nothing helps, `stale` when the session is lost.
   */
  async #recover(
    error: ImgfsError,
    { start, end, failures }: { start: number; end: number; failures: number },
    options: CallOptions,
  ): Promise<boolean> {
    const { status } = error.context;
    if (status === 404) {
      if (failures >= this.#client.options.retries) throw this.#lost(error);
      return this.#reopen(error, start, options);
    }
    if (status === 413 || status === 416) {
      const before = this.offset;
      if (status === 416) await this.#synchronize(start, end, options);
      if (this.offset !== before) return true;
      if (this.chunkBytes / 2 < minChunkBytes) throw error;
      this.chunkBytes = Math.ceil(this.chunkBytes / 2);
      return false;
    }
    if (failures >= this.#client.options.retries || !mayRetry(error, true)) throw error;
    await sleep(Math.max(backoffMs(failures, this.#client.options), error.retryAfterMs ?? 0), options.signal);
    try {
      await this.#synchronize(start, end, options);
    } catch (lost) {
      if (isImgfsError(lost, 'stale')) return this.#reopen(lost, start, options);
      throw lost;
    }
    return true;
  }

  /** A lost session of which nothing was confirmed can be begun again: all its bytes are still in our hands. */
  async #reopen(error: ImgfsError, start: number, options: CallOptions): Promise<boolean> {
    if (start !== 0) throw this.#lost(error);
    await this.open(options);
    return true;
  }

  #lost(error: ImgfsError): ImgfsError {
    return new ImgfsError(
      'stale',
      `upload to ${this.#client.registry}/${this.#repository}: the session is lost`,
      {
        ...error.context,
        cause: error,
        hint: 'start the upload anew',
      },
    );
  }

  /** Ask how far the registry is and believe it where it can be right. */
  async #synchronize(start: number, end: number, options: CallOptions): Promise<void> {
    const told = await this.ask(options);
    if (this.#rangeLies) return;
    if (told < start || told > end) {
      const text = `the registry has ${told} bytes, ${start} to ${end} were expected`;
      throw this.#lost(new ImgfsError('protocol', text, { host: this.#location.host }));
    }
    this.offset = told;
  }

  /**
   * GET: bytes that the registry says it has.
   * @throws ImgfsError `stale` when it does not know the session.
   */
  async ask(options: CallOptions): Promise<number> {
    let reply: Reply;
    try {
      reply = await this.#client.sendTo(this.#endpoint, {
        ...this.#call('ask for upload', 'GET', options),
        url: this.#location,
        expect: [200, 202, 204],
      });
    } catch (thrown) {
      const error = toImgfsError(thrown);
      throw isImgfsError(error, 'not-found') ? this.#lost(error) : error;
    }
    await discardBody(reply.body);
    this.#location = uploadLocation(this.#client, reply) ?? this.#location;
    const told = parseUploadRange(headerValue(reply.headers, 'range')) ?? 0;
    // `0-0` is what registries write for none and for one.
    return told === 1 && this.offset === 0 ? 0 : told;
  }

  /**
   * PUT: commit, with the last bytes or all of them in the body.
   * @throws ImgfsError `digest-mismatch` when the registry computed another digest; the session lives on then.
   */
  async commit(digest: Digest, body: RequestBody, options: CallOptions): Promise<Descriptor> {
    const size = this.offset + body.length;
    const rest = body;
    for (let failures = 0; ; failures += 1) {
      try {
        return await this.#put(digest, rest, size, options);
      } catch (thrown) {
        const error = toImgfsError(thrown);
        if (error.code === 'digest-mismatch') await this.#noteMismatch(size, options);
        if (error.code === 'digest-mismatch' || error.code === 'interrupted') throw error;
        const retry = error.context.status === 404 || mayRetry(error, true);
        if (!retry || failures >= this.#client.options.retries) throw error;
        await sleep(
          Math.max(backoffMs(failures, this.#client.options), error.retryAfterMs ?? 0),
          options.signal,
        );
        // The answer may have been lost, not the request.
        if (await this.#exists(digest, size, options))
          return { mediaType: mediaTypes.octetStream, digest, size };
        if (error.context.status === 404 || rest.length > 0) {
          // A body that was cut leaves the session somewhere in between; with all bytes at hand, begin again.
          if (size !== rest.length) throw this.#lost(error);
          await this.open(options);
        }
      }
    }
  }

  /** A refused commit may have left its body in the session: the next commit must not send it again. */
  async #noteMismatch(size: number, options: CallOptions): Promise<void> {
    if (this.offset === size) return;
    const told = await this.ask(options).catch(() => 0);
    if (told === size) this.offset = size;
  }

  async #put(digest: Digest, body: RequestBody, size: number, options: CallOptions): Promise<Descriptor> {
    const reply = await this.#client.sendTo(this.#endpoint, {
      ...this.#call('finish upload', 'PUT', options),
      url: commitUrl(this.#location, digest),
      headers: { 'content-type': mediaTypes.octetStream },
      body,
      idempotent: false,
      responseTimeoutMs: this.#client.options.commitTimeoutMs,
      expect: [200, 201, 202, 204],
      context: { digest, reference: `${this.#client.registry}/${this.#repository}@${digest}` },
    });
    await discardBody(reply.body);
    assertClaimed(reply, digest);
    // Only 201 says that the blob is there.
    if (reply.status !== 201 && !(await this.#exists(digest, size, options))) {
      throw new ImgfsError('unavailable', `finish upload: ${reply.url.host} does not have the blob yet`, {
        ...reply.context,
        hint: 'try again',
      });
    }
    this.offset = size;
    return { mediaType: mediaTypes.octetStream, digest, size };
  }

  async #exists(digest: Digest, size: number, options: CallOptions): Promise<boolean> {
    try {
      return (await statBlob(this.#client, this.#repository, digest, options)).size === size;
    } catch (error) {
      if (isImgfsError(error, 'interrupted')) throw error;
      return false;
    }
  }

  /** DELETE: let go of the session. Failure changes nothing: registries sweep them. */
  async cancel(options: CallOptions): Promise<void> {
    try {
      const reply = await this.#client.sendTo(this.#endpoint, {
        ...this.#call('cancel upload', 'DELETE', options),
        url: this.#location,
        expect: [200, 202, 204],
        idempotent: false,
      });
      await discardBody(reply.body);
    } catch (error) {
      if (isImgfsError(error, 'interrupted') && options.signal?.aborted === true) throw error;
    }
  }

  #call(operation: string, method: Call['method'], { signal, priority }: CallOptions): Omit<Call, 'expect'> {
    return {
      operation,
      method,
      repository: this.#repository,
      path: '',
      capability: 'push',
      access: 'push',
      context: { reference: `${this.#client.registry}/${this.#repository}` },
      ...(signal === undefined ? {} : { signal }),
      ...(priority === undefined ? {} : { priority }),
    };
  }
}

/** @throws ImgfsError `integrity` when the registry says that it stored something else. */
function assertClaimed(reply: Reply, digest: Digest): void {
  const claimed = claimedDigest(reply);
  if (claimed === undefined || claimed === digest || digestAlgorithm(claimed) !== digestAlgorithm(digest))
    return;
  throw new ImgfsError(
    'integrity',
    `finish upload: ${reply.url.host} stored it as ${claimed}`,
    reply.context,
  );
}
