/**
 * undici's agent from its own file. The package's main file also loads fetch, WebSocket, caches and mocks: 82 ms and
 * 19.3 MiB of every process that asks a registry, against 26 ms and 10.7 MiB (Node 20.20, undici 7.30). undici has no
 * `exports`, so its files may be named; a test holds that these classes are those of the main file. A proxy needs methods
 * that only the main file gives to dispatchers.
 */
import { createRequire } from 'node:module';
import type * as undici from 'undici';

const require = createRequire(import.meta.url);

type Undici = typeof undici;

export const Agent = require('undici/lib/dispatcher/agent.js') as Undici['Agent'];
export const errors = require('undici/lib/core/errors.js') as Undici['errors'];

/** The class of agents that go through a proxy; loads all of undici. */
export function loadProxyAgent(): Undici['ProxyAgent'] {
  return (require('undici') as Undici).ProxyAgent;
}

/** An agent that goes through a proxy. */
export function openProxyAgent(options: undici.ProxyAgent.Options): undici.ProxyAgent {
  const ProxyAgent = loadProxyAgent();
  return new ProxyAgent(options);
}
