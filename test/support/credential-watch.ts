/**
 * Sees where secrets and connections go, whatever the code under test believes: every header and path that undici
 * writes (its diagnostics channels), every connection that node makes, and everything the test's servers receive.
 *
 * Names under `.test` are resolved here. An address outside loopback is never really connected to: the attempt is
 * noted and fails.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import dns from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';

export interface SentRequest {
  /** `host:port` of the URL that was asked. */
  readonly host: string;
  /** Remote `address:port` of the socket. */
  readonly peer: string;
  readonly text: string;
}

export interface CredentialWatch {
  readonly sent: readonly SentRequest[];
  /** Addresses outside loopback that a connection was tried to. */
  readonly forbiddenConnections: readonly string[];
  forget(): void;
  stop(): void;
}

export interface WatchOptions {
  /** Addresses by name: what the fake resolver answers; a function may change its mind. */
  readonly names?: Readonly<Record<string, readonly string[] | (() => readonly string[])>>;
  /** Names that are connected to at 127.0.0.1, whatever they resolve to: a public registry, for our purpose. */
  readonly reachedOnLoopback?: readonly string[];
}

type LookupCallback = (error: Error | null, found: unknown, family?: number) => void;

function fakeLookup(options: WatchOptions, real: typeof dns.lookup): typeof dns.lookup {
  const lookup = (hostname: string, given: unknown, maybe?: LookupCallback): void => {
    const callback = (typeof given === 'function' ? given : maybe) as LookupCallback;
    const all = typeof given === 'object' && (given as { all?: boolean }).all === true;
    const entry = options.names?.[hostname];
    if (entry === undefined) {
      if (!hostname.endsWith('.test')) {
        (real as unknown as (...words: unknown[]) => void)(hostname, given, maybe);
        return;
      }
      callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), { code: 'ENOTFOUND' }), '');
      return;
    }
    const found = (typeof entry === 'function' ? entry() : entry).map((address) => ({
      address,
      family: net.isIP(address),
    }));
    setImmediate(() =>
      all ? callback(null, found) : callback(null, found[0]?.address, found[0]?.family ?? 4),
    );
  };
  return Object.assign(lookup, { __promisify__: real.__promisify__ }) as unknown as typeof dns.lookup;
}

const loopback = new net.BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');
loopback.addSubnet('::ffff:127.0.0.0', 104, 'ipv6');

function isLoopback(address: string): boolean {
  return loopback.check(address, net.isIPv4(address) ? 'ipv4' : 'ipv6');
}

/** Begin to watch this process. */
export function watchCredentials(options: WatchOptions = {}): CredentialWatch {
  const sent: SentRequest[] = [];
  const forbiddenConnections: string[] = [];
  const onHeaders = (message: unknown): void => {
    const { request, headers, socket } = message as {
      request: { origin: string | URL; path: string; body?: unknown };
      headers: string;
      socket: net.Socket;
    };
    sent.push({
      host: new URL(request.origin).host,
      peer: `${socket.remoteAddress}:${socket.remotePort}`,
      text: `${headers}\n${request.path}`,
    });
  };
  subscribe('undici:client:sendHeaders', onHeaders);

  const realLookup = dns.lookup;
  dns.lookup = fakeLookup(options, realLookup);
  // oxlint-disable-next-line typescript/unbound-method -- it is called with the socket it was taken from
  const realConnect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (this: net.Socket, ...words: unknown[]): net.Socket {
    // net.connect hands on its normalised arguments: an array of options and callback.
    const given = (Array.isArray(words[0]) ? words[0][0] : words[0]) as { host?: string; lookup?: unknown };
    if (typeof given === 'object' && given !== null && typeof given.host === 'string') {
      const { host } = given;
      if (options.reachedOnLoopback?.includes(host) === true) given.host = '127.0.0.1';
      if (net.isIP(given.host) !== 0 && !isLoopback(given.host)) {
        forbiddenConnections.push(given.host);
        process.nextTick(() => this.destroy(new Error(`test: no connection to ${host}`)));
        return this;
      }
    }
    return realConnect.apply(this, words as never);
  };
  syncBuiltinESMExports();

  return {
    sent,
    forbiddenConnections,
    forget: () => {
      sent.length = 0;
      forbiddenConnections.length = 0;
    },
    stop: () => {
      unsubscribe('undici:client:sendHeaders', onHeaders);
      dns.lookup = realLookup;
      net.Socket.prototype.connect = realConnect;
      syncBuiltinESMExports();
    },
  };
}
