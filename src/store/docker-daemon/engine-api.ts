/**
 * Docker's Engine API over a unix socket (docs.docker.com/reference/api/engine): the few calls about images. podman's
 * socket speaks it as well.
 */
import { Readable } from 'node:stream';
import { Client, type Dispatcher } from 'undici';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { ErrorCode } from '../../errors/codes.js';
import {
  asObject,
  optionalString,
  optionalStrings,
  refuseField,
  requiredString,
} from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { fsErrorCode } from '../file-error.js';
import type { CallOptions } from '../store.js';

/** What we ask for was there in 1.24 (Docker 1.12); 1.44 is the last whose answers were checked. */
const oldestVersion = [1, 24] as const;
const newestVersion = [1, 44] as const;

/** An engine begins to answer at once, but for exports of images whose layers it packs first. */
const headersTimeoutMs = 300_000;
/** Silence in the middle of a body. */
const bodyTimeoutMs = 60_000;

/** A list of 10,000 images is 10 MB. */
const maxJsonBytes = 64 * 1024 * 1024;

export interface EngineImage {
  readonly id: string;
  readonly names: readonly string[];
}

export class EngineApi {
  /** Path of the socket. */
  readonly socket: string;
  private readonly client: Client;
  private version: Promise<string> | undefined;

  constructor(socket: string) {
    this.socket = socket;
    this.client = new Client('http://localhost', {
      socketPath: socket,
      headersTimeout: headersTimeoutMs,
      bodyTimeout: bodyTimeoutMs,
      pipelining: 1,
    });
  }

  close(): Promise<void> {
    return this.client.destroy();
  }

  /** @throws ImgfsError `unavailable`, `denied`, `unsupported` for an engine that is too old, `protocol`. */
  async images(options: CallOptions = {}): Promise<readonly EngineImage[]> {
    const list = await this.json('GET', '/images/json', options);
    if (!Array.isArray(list)) refuseField('GET /images/json', 'not a list');
    return list.map((value: unknown, at) => {
      const where = `GET /images/json[${at}]`;
      const object = asObject(value, where);
      return {
        id: requiredString(object, 'Id', where),
        names: optionalStrings(object, 'RepoTags', where) ?? [],
      };
    });
  }

  /** Id of the image that a name means. @throws ImgfsError `not-found`, and as {@link images}. */
  async imageId(name: string, options: CallOptions = {}): Promise<string> {
    const where = `GET /images/${name}/json`;
    return requiredString(
      asObject(await this.json('GET', `/images/${name}/json`, options), where),
      'Id',
      where,
    );
  }

  /** The image as `docker save` writes it. */
  async save(id: string, options: CallOptions = {}): Promise<AsyncIterable<Uint8Array>> {
    return (await this.request('GET', `/images/${id}/get`, options)).body;
  }

  /**
   * Load an archive.
   * @throws ImgfsError `unavailable` with what the engine says, also in the middle of an answer that began well.
   */
  async load(archive: AsyncIterable<Uint8Array>, options: CallOptions = {}): Promise<void> {
    const answer = await this.request('POST', '/images/load?quiet=1', options, archive, 'application/x-tar');
    await this.readProgress('load image', answer);
  }

  async tag(id: string, repository: string, tag: string, options: CallOptions = {}): Promise<void> {
    const query = new URLSearchParams({ repo: repository, tag });
    await (await this.request('POST', `/images/${id}/tag?${query.toString()}`, options)).body.dump();
  }

  /** Take a name away, or by id the image. @throws ImgfsError `not-found`, `busy` when a container needs it. */
  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await (await this.request('DELETE', `/images/${name}`, options)).body.dump();
  }

  private async json(method: 'GET', path: string, options: CallOptions): Promise<unknown> {
    return this.readJson(`${method} ${path}`, await this.request(method, path, options));
  }

  private async readJson(what: string, { body }: Dispatcher.ResponseData): Promise<unknown> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of body as AsyncIterable<Uint8Array>) {
      size += part.length;
      if (size > maxJsonBytes) throw new ImgfsError('too-large', `${what}: more than ${maxJsonBytes} bytes`);
      parts.push(part);
    }
    return parseUntrustedJson(Buffer.concat(parts), { what, maxBytes: maxJsonBytes });
  }

  /** Lines of JSON; one with `error` means that it went wrong, whatever the status said. */
  private async readProgress(what: string, { body }: Dispatcher.ResponseData): Promise<void> {
    let text = '';
    for await (const part of body as AsyncIterable<Buffer>) {
      text += part.toString('utf8');
      const lines = text.split('\n');
      text = (lines.pop() ?? '').slice(0, maxJsonBytes);
      for (const line of lines) this.checkLine(what, line);
    }
    this.checkLine(what, text);
  }

  private checkLine(what: string, line: string): void {
    if (line.trim() === '') return;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new ImgfsError('protocol', `${what}: the engine at ${this.socket} answers with no JSON`);
    }
    const object = asObject(value, what);
    const error = optionalString(object, 'error', what);
    if (error === undefined && object['errorDetail'] === undefined) return;
    throw new ImgfsError(
      'unavailable',
      `${what}: the engine at ${this.socket} says: ${oneLine(error ?? line)}`,
      {
        hint: 'the log of the engine says more (journalctl -u docker)',
      },
    );
  }

  private async request(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    options: CallOptions,
    body?: AsyncIterable<Uint8Array>,
    contentType?: string,
  ): Promise<Dispatcher.ResponseData> {
    this.version ??= this.negotiate(options).catch((error: unknown) => {
      this.version = undefined;
      throw error;
    });
    const [place = '', query] = path.split('?');
    const answer = await this.send({
      method,
      path: `/v${await this.version}${encodeURI(place)}${query === undefined ? '' : `?${query}`}`,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(body === undefined ? {} : { body: Readable.from(body, { objectMode: false }) }),
      headers: contentType === undefined ? {} : { 'content-type': contentType },
    });
    if (answer.statusCode < 400) return answer;
    throw await this.refusal(`${method} ${path}`, answer);
  }

  private async refusal(what: string, answer: Dispatcher.ResponseData): Promise<ImgfsError> {
    const message = await this.readJson(what, answer).then(
      (document) => optionalString(asObject(document, what), 'message', what) ?? '',
      () => '',
    );
    const codes: Record<number, ErrorCode> = {
      400: 'invalid',
      401: 'denied',
      403: 'denied',
      404: 'not-found',
      409: 'busy',
    };
    const code = codes[answer.statusCode] ?? 'unavailable';
    return new ImgfsError(
      code,
      `${what}: the engine at ${this.socket} answers ${answer.statusCode}: ${oneLine(message)}`,
      code === 'unavailable' ? { hint: 'the log of the engine says more (journalctl -u docker)' } : {},
    );
  }

  /** The newest version that both know. */
  private async negotiate(options: CallOptions): Promise<string> {
    const answer = await this.send({ method: 'GET', path: '/_ping', ...options });
    await answer.body.dump();
    const header = answer.headers['api-version'];
    const [major = 0, minor = 0] = String(header ?? '')
      .split('.')
      .map(Number);
    const isOld = major < oldestVersion[0] || (major === oldestVersion[0] && minor < oldestVersion[1]);
    if (answer.statusCode !== 200 || !/^[0-9]+\.[0-9]+$/.test(String(header ?? ''))) {
      throw new ImgfsError('protocol', `open docker-daemon ${this.socket}: it is no engine of Docker's API`, {
        hint: 'name the socket of dockerd: docker-daemon:[/run/docker.sock]name',
      });
    }
    if (isOld) {
      throw new ImgfsError(
        'unsupported',
        `open docker-daemon ${this.socket}: it speaks API ${String(header)}, ${oldestVersion.join('.')} is needed`,
        { hint: 'update the engine, or save the image: docker save, docker-archive:' },
      );
    }
    const isNewer = major > newestVersion[0] || minor > newestVersion[1];
    return isNewer ? newestVersion.join('.') : `${major}.${minor}`;
  }

  private async send(options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> {
    try {
      return await this.client.request(options);
    } catch (error) {
      throw this.connectionError(error, options);
    }
  }

  private connectionError(error: unknown, { signal }: Dispatcher.RequestOptions): ImgfsError {
    // What broke a body that we send is our own error.
    if (error instanceof ImgfsError) return error;
    const aborted = signal instanceof AbortSignal && signal.aborted;
    const name = fsErrorCode(error) ?? '';
    const what = `docker-daemon ${this.socket}`;
    if (aborted) return new ImgfsError('interrupted', `${what}: given up`, { cause: error });
    if (name === 'EACCES' || name === 'EPERM') {
      return new ImgfsError('denied', `${what}: the socket may not be used`, {
        cause: error,
        hint: 'join the group docker, or name the socket of an engine of your own',
      });
    }
    const isTimeout = name.includes('TIMEOUT');
    return new ImgfsError(
      isTimeout ? 'timeout' : 'unavailable',
      `${what}: ${isTimeout ? 'no answer in time' : `no engine there (${name || String(error)})`}`,
      {
        cause: error,
        hint: 'start it (systemctl start docker), or name its socket: docker-daemon:[/path/docker.sock]name',
      },
    );
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, 500);
}
