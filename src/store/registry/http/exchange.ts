/**
 * One request and its answer, on undici's `dispatch`: no redirects, no retries, no credentials of its own.
 * The promise settles when the headers are there, at the deadline, or when the caller gives up, whichever is first,
 * also while the connection is still being made.
 */
import type { Dispatcher } from 'undici';
import { ImgfsError, type ErrorContext, redactUrl } from '../../../errors/imgfs-error.js';
import { counter } from '../../../observe/metrics.js';
import { AnswerBody } from './answer-body.js';
import { claimTapped } from './connection-tap.js';
import { connectionError } from './connection-error.js';
import type { ResponseHeaders } from './headers.js';
import { sliceBytes, slicesOf, type RequestBody } from './request-body.js';
import { StallWatch, type StallLimit } from './stall-watch.js';

const requestsSent = counter(
  'imgfs_store_requests_total',
  'HTTP requests sent to registries and token servers',
);
const bytesReceived = counter('imgfs_store_received_bytes_total', 'Body bytes received from registries');

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface ExchangeRequest {
  readonly method: Method;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: RequestBody;
  /** For messages: a verb phrase, and what it is about. */
  readonly context: ErrorContext;
  /** From now to the response headers; while a body is being sent the time starts anew as long as it moves. */
  readonly timeoutMs: number;
  readonly stall: StallLimit;
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly headers: ResponseHeaders;
  readonly body: AnswerBody;
  /** The URL that answered. */
  readonly url: URL;
  readonly context: ErrorContext;
}

async function* watched(body: RequestBody, onProgress: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const slice of slicesOf(body)) {
    yield slice;
    // Asked for more: undici's write of the last slice went below the socket's high-water mark.
    onProgress(slice.length);
  }
}

/** State of one exchange: exists so that each event is a short method. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #request: ExchangeRequest;
  readonly #context: ErrorContext;
  readonly #resolve: (answer: Answer) => void;
  readonly #reject: (error: ImgfsError) => void;
  readonly #sendWatch: StallWatch;
  #controller: Dispatcher.DispatchController | undefined;
  #body: AnswerBody | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failure: ImgfsError | undefined;

  constructor(
    request: ExchangeRequest,
    resolve: (answer: Answer) => void,
    reject: (error: ImgfsError) => void,
  ) {
    this.#request = request;
    this.#context = {
      ...request.context,
      request: `${request.method} ${redactUrl(request.url)}`,
      host: request.url.host,
    };
    this.#resolve = resolve;
    this.#reject = reject;
    this.#sendWatch = new StallWatch(request.stall, () =>
      this.#abort(this.#error('timeout', 'sending is too slow')),
    );
    request.signal?.addEventListener('abort', this.#onSignal, { once: true });
    this.#restartTimer();
  }

  start(dispatcher: Dispatcher): void {
    const { method, url, headers, body } = this.#request;
    if (this.#request.signal?.aborted === true) {
      this.#onSignal();
      return;
    }
    requestsSent.add();
    const sized = body === undefined ? headers : { ...headers, 'content-length': String(body.length) };
    try {
      dispatcher.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method,
          headers: sized,
          // An empty body must still announce its length (distribution-spec end-4a); undici does for null.
          body: (body === undefined || body.length === 0
            ? null
            : watched(body, (bytes) => this.#onSent(bytes))) as null,
          headersTimeout: 0,
          bodyTimeout: 0,
          // undici closes the connection after each HEAD unless told otherwise: one more TLS handshake for every tag.
          reset: false,
        },
        this,
      );
      if (body !== undefined && body.length > sliceBytes) this.#sendWatch.start();
    } catch (error) {
      this.#settleWith(connectionError(error, this.#context));
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#failure !== undefined) controller.abort(this.#failure);
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    if (status < 200) return;
    clearTimeout(this.#timer);
    this.#sendWatch.stop();
    const { stall } = this.#request;
    const claimed = claimTapped(headers);
    const body = new AnswerBody(
      controller,
      {
        ...stall,
        onStall: (bytes) =>
          this.#error('timeout', `the answer stalled: ${bytes} bytes in ${stall.windowMs} ms`),
        onBytes: (bytes) => bytesReceived.add(bytes),
      },
      claimed.tapped,
    );
    this.#body = body;
    const context = { ...this.#context, status };
    this.#resolve({ status, headers: claimed.headers, body, url: this.#request.url, context });
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#body?.fromParser(chunk);
  }

  onResponseEnd(): void {
    this.#detach();
    this.#body?.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#settleWith(this.#failure ?? connectionError(error, this.#context));
  }

  #onSent(bytes: number): void {
    this.#sendWatch.add(bytes);
    if (this.#body === undefined && this.#failure === undefined) this.#restartTimer();
  }

  readonly #onSignal = (): void => {
    this.#abort(this.#error('interrupted', 'the caller gave up'));
  };

  #restartTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.#abort(this.#error('timeout', `no answer after ${this.#request.timeoutMs} ms`)),
      this.#request.timeoutMs,
    );
  }

  #abort(error: ImgfsError): void {
    this.#failure = error;
    this.#settleWith(error);
    this.#controller?.abort(error);
  }

  #settleWith(error: ImgfsError): void {
    this.#detach();
    if (this.#body === undefined) this.#reject(error);
    else this.#body.fail(error);
  }

  #detach(): void {
    clearTimeout(this.#timer);
    this.#sendWatch.stop();
    this.#request.signal?.removeEventListener('abort', this.#onSignal);
  }

  #error(code: 'timeout' | 'interrupted', text: string): ImgfsError {
    const { operation = 'request', host } = this.#context;
    return new ImgfsError(code, `${operation} from ${host}: ${text}`, this.#context);
  }
}

/**
 * Send one request.
 * @throws ImgfsError `timeout`, `unavailable`, `protocol`, `interrupted`; every status is an answer, not an error.
 */
export function exchange(dispatcher: Dispatcher, request: ExchangeRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const one = new Exchange(request, resolve, reject);
    // undici takes a connection back into use one turn of the event loop after the answer before has ended. Asked in
    // that very turn, it would open another one: a handshake for every second request.
    setImmediate(() => one.start(dispatcher));
  });
}
