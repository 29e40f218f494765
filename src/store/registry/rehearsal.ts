/**
 * What a process does only once for its first request to a registry, done before anybody waits for one. Otherwise the
 * first `ls` of a mount holds its event loop up: on two processors 25 ms while undici and Node's http are loaded, 10 while
 * the authorities of the machine are compared with Node's, 15 while a TLS context is made and undici compiles its parser.
 */
import { Duplex } from 'node:stream';
import { createSecureContext } from 'node:tls';
import type { Dispatcher } from 'undici';
import type { Environment } from './config/environment.js';
import { createProxyChooser } from './config/proxy.js';
import { createTrustAnchors } from './config/trust-anchors.js';
import { Agent, loadProxyAgent } from './http/dispatchers.js';
// What a request goes through is loaded with it.
import './registry-store.js';

/** An answer without a body, as the smallest registry gives it. */
const answerText = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';

/** No host of this name can exist (RFC 2606, 2). */
const nowhere = new URL('http://rehearsal.invalid/v2/');

/** A connection without a network: answers the first request that is written to it. */
class AnsweringSocket extends Duplex {
  #answered = false;

  override _read(): void {
    // What is to be read is pushed by the write.
  }

  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (!this.#answered) this.push(answerText);
    this.#answered = true;
    done();
  }
}

/** Everything is in memory: who is not done by then waits for something that will not come. */
const askTimeoutMs = 2_000;

function ask(agent: Dispatcher): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the rehearsal was not answered')), askTimeoutMs);
    const end = (): void => {
      clearTimeout(timer);
      resolve();
    };
    agent.dispatch(
      { origin: nowhere.origin, path: nowhere.pathname, method: 'GET', headersTimeout: 0, bodyTimeout: 0 },
      {
        onRequestStart: () => {},
        onResponseStart: () => {},
        onResponseData: () => {},
        onResponseEnd: end,
        onResponseError: end,
      },
    );
  });
}

/** Whatever of it fails is left to the first request, which says so to whoever asked. Sends nothing. */
export async function rehearseRequest(environment: Environment): Promise<void> {
  const agent = new Agent({
    // As a network does, in a later turn: undici is not ready for it earlier.
    connect: (_options, callback) => void setImmediate(() => callback(null, new AnsweringSocket() as never)),
  });
  const proxy = async (): Promise<void> => {
    if (createProxyChooser(environment)(new URL('https://rehearsal.invalid')) !== undefined) loadProxyAgent();
  };
  createSecureContext();
  await Promise.allSettled([ask(agent), createTrustAnchors(environment).read(), proxy()]);
  await agent.destroy();
}
