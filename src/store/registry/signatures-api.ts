/**
 * OpenShift's signature extension: a registry that answers `/v2/` with `X-Registry-Supports-Signatures: 1` keeps simple
 * signing itself, at `/extensions/v2/<repository>/signatures/<digest>` (containers/image docs/signature-protocols.md).
 */
import { randomBytes } from 'node:crypto';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import { asObject, field, optionalArray, optionalString } from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { createLogger } from '../../observe/log.js';
import { maxSignatureBytes, maxSignatures } from '../lookaside/limits.js';
import type { CallOptions } from '../store.js';
import { askApiVersion } from './api-version.js';
import type { Call, RegistryClient } from './client.js';
import type { Endpoint } from './endpoint.js';
import { discardBody, readBody } from './http/read-body.js';

const log = createLogger('store');

/** Base64 of four MiB, and what is around it. */
const maxAnswerBytes = 8 * 1024 * 1024;

export class SignaturesApi {
  readonly #client: RegistryClient;
  /** Whether the registry has the extension; asked once. */
  #supported: Promise<boolean> | undefined;

  constructor(client: RegistryClient) {
    this.#client = client;
  }

  /** Undefined when the registry has no such extension. @throws ImgfsError `protocol` for what is no list of signatures. */
  async get(
    repository: string,
    digest: Digest,
    options: CallOptions,
  ): Promise<readonly Uint8Array[] | undefined> {
    const endpoint = await this.#endpoint(repository, options);
    if (endpoint === undefined) return undefined;
    const reply = await this.#client.sendTo(endpoint, {
      ...options,
      ...this.#call(endpoint, digest),
      operation: 'read signatures',
      method: 'GET',
      repository,
      access: 'pull',
      expect: [200, 404],
    });
    if (reply.status === 404) {
      await discardBody(reply.body);
      return [];
    }
    const { callTimeoutMs } = this.#client.options;
    const bytes = await readBody(reply.body, maxAnswerBytes, callTimeoutMs, reply.context);
    try {
      return parseSignatures(bytes);
    } catch (error) {
      if (!isImgfsError(error)) throw error;
      throw new ImgfsError('protocol', `read signatures of ${digest}: ${error.message}`, {
        ...reply.context,
        cause: error,
      });
    }
  }

  /** Undefined when the registry has no such extension; else the address under which they are read. */
  async put(
    repository: string,
    digest: Digest,
    signature: Uint8Array,
    options: CallOptions,
  ): Promise<string | undefined> {
    const known = await this.get(repository, digest, options);
    const endpoint = known === undefined ? undefined : await this.#endpoint(repository, options);
    if (known === undefined || endpoint === undefined) return undefined;
    const call = this.#call(endpoint, digest);
    if (known.some((other) => Buffer.compare(other, signature) === 0)) return call.url.href;
    if (signature.length > maxSignatureBytes || known.length >= maxSignatures)
      throw new ImgfsError('too-large', `put signature of ${digest}: it is too long, or there are too many`, {
        digest,
      });
    // The name is ours to choose; it must be new.
    const name = `${digest}@${randomBytes(16).toString('hex')}`;
    const document = {
      schemaVersion: 2,
      name,
      type: 'atomic',
      content: Buffer.from(signature).toString('base64'),
    };
    const reply = await this.#client.sendTo(endpoint, {
      ...options,
      ...call,
      operation: 'put signature',
      method: 'PUT',
      repository,
      access: 'push',
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(JSON.stringify(document)),
      expect: [201],
      hint: 'signing needs a right of its own there (OpenShift: image-signer)',
    });
    await discardBody(reply.body);
    return call.url.href;
  }

  #call(
    endpoint: Endpoint,
    digest: Digest,
  ): Pick<Call, 'path' | 'url' | 'capability' | 'context'> & { url: URL } {
    const path = `/extensions/v2/${endpoint.repository}/signatures/${digest}`;
    // Beside the API of the registry, under the same origin.
    return {
      path: '/',
      url: new URL(path, this.#client.urlOf(endpoint, '/')),
      capability: 'resolve',
      context: { digest },
    };
  }

  /** Where the registry itself is asked, no mirror of it; undefined without the extension. */
  async #endpoint(repository: string, options: CallOptions): Promise<Endpoint | undefined> {
    // A registry that is only reached through mirrors must not lose what those tell of it; it is asked again next time.
    this.#supported ??= this.#ask(options).catch((error: unknown) => {
      this.#supported = undefined;
      if (!isImgfsError(error) || error.code === 'interrupted') throw error;
      log.debug('whether signatures are kept there is not known', { error: error.message });
      return false;
    });
    if (!(await this.#supported)) return undefined;
    return (await this.#client.endpoints(repository, 'resolve')).find(({ isOrigin }) => isOrigin);
  }

  async #ask(options: CallOptions): Promise<boolean> {
    // Whoever may not read anything there is told so by the header all the same.
    const headers = await askApiVersion(this.#client, [200, 401, 403, 404], options);
    return headers['x-registry-supports-signatures'] === '1';
  }
}

/** `{"signatures": [{"schemaVersion": 2, "name", "type": "atomic", "content": base64}]}`; of other kinds nothing is known. */
function parseSignatures(bytes: Uint8Array): readonly Uint8Array[] {
  const what = 'list of signatures';
  const document = asObject(parseUntrustedJson(bytes, { what, maxBytes: maxAnswerBytes }), what);
  const list = optionalArray(document, 'signatures', what) ?? [];
  return list.slice(0, maxSignatures).flatMap((value, at) => {
    const where = `${what}[${at}]`;
    const object = asObject(value, where);
    const content = optionalString(object, 'content', where);
    const isKnown =
      field(object, 'schemaVersion') === 2 && optionalString(object, 'type', where) === 'atomic';
    return isKnown && content !== undefined ? [Buffer.from(content, 'base64')] : [];
  });
}
