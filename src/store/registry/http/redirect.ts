/**
 * Redirects, followed by our own code: credentials and configured headers never cross an origin, https never becomes
 * http, every hop's address is checked, and hops are counted.
 */
import { ImgfsError, redactUrl } from '../../../errors/imgfs-error.js';
import { caps } from '../options.js';
import type { Answer } from './exchange.js';
import { headerValue } from './headers.js';
import { discardBody } from './read-body.js';

const redirectStatuses = new Set([301, 302, 303, 307, 308]);

/** Headers that may go to a host the registry named: they say what is wanted, not who asks. */
const portableHeaders = new Set(['accept', 'accept-encoding', 'range', 'if-none-match', 'user-agent']);

export function isRedirect(status: number): boolean {
  return redirectStatuses.has(status);
}

/** What is left of the headers behind the first change of origin. */
export function portable(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => portableHeaders.has(name.toLowerCase())),
  );
}

function refuse(answer: Answer, why: string): ImgfsError {
  const { operation = 'request', host } = answer.context;
  return new ImgfsError('protocol', `${operation}: ${host} redirects ${why}`, {
    ...answer.context,
    hint: 'check the configuration of the registry and of the proxies in front of it',
  });
}

/**
 * Where a redirect leads.
 * @throws ImgfsError `protocol` when it leads nowhere, to another scheme than http(s), or from https to http.
 */
export function redirectTarget(answer: Answer): URL {
  const location = headerValue(answer.headers, 'location');
  if (location === undefined) throw refuse(answer, 'without a location');
  let target: URL;
  try {
    target = new URL(location, answer.url);
  } catch {
    throw refuse(answer, 'to something that is no url');
  }
  if (target.protocol !== 'https:' && target.protocol !== 'http:')
    throw refuse(answer, `to ${target.protocol}`);
  if (answer.url.protocol === 'https:' && target.protocol === 'http:') {
    throw refuse(answer, `from https to http (${redactUrl(target)})`);
  }
  // `user:password@` would make undici send credentials that are not ours to send.
  target.username = '';
  target.password = '';
  target.hash = '';
  return target;
}

/** One request to one URL. `foreign`: behind a change of origin. */
export type Hop = (url: URL, headers: Readonly<Record<string, string>>, foreign: boolean) => Promise<Answer>;

export interface Followed {
  readonly answer: Answer;
  /** The answer came from another origin than the one asked. */
  readonly foreign: boolean;
}

/**
 * Send, and follow redirects.
 * @throws ImgfsError `protocol` for a redirect that is refused, `denied` for an address that is.
 */
export async function follow(
  url: URL,
  headers: Readonly<Record<string, string>>,
  foreign: boolean,
  hop: Hop,
): Promise<Followed> {
  let current = { url, headers, foreign };
  for (let hops = 0; ; hops += 1) {
    const answer = await hop(current.url, current.headers, current.foreign);
    if (!isRedirect(answer.status)) return { answer, foreign: current.foreign };
    let target: URL;
    try {
      if (hops >= caps.redirects) throw refuse(answer, `more than ${caps.redirects} times`);
      target = redirectTarget(answer);
    } catch (error) {
      answer.body.cancel();
      throw error;
    }
    await discardBody(answer.body);
    // Once abroad, always abroad: a stranger may not send us back with our credentials to a path of his choice.
    const crossed = current.foreign || target.origin !== answer.url.origin;
    current = {
      url: target,
      headers: crossed ? portable(current.headers) : current.headers,
      foreign: crossed,
    };
  }
}
