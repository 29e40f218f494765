/**
 * Faults drawn by seed. What strikes a request depends on the seed, on what is asked for (method, path, range) and on
 * how often that was asked before: not on the order in which parallel requests arrive. So a seed can be run again.
 */
import { createPrng, type Prng } from '../prng.js';
import type { Fault, FaultKind, FaultMatch } from './fault.js';
import type { RequestRecord } from './request.js';

export interface SeededFaults {
  readonly seed: number;
  /** Chance that a request is struck, 0 to 1. */
  readonly probability: number;
  /** Kinds to draw from. Default: all of {@link seededKinds}. */
  readonly kinds?: readonly SeededKind[];
  /** Requests left alone. */
  readonly except?: (request: RequestRecord) => boolean;
  /** Only these. */
  readonly match?: FaultMatch;
  /** Where `redirect` sends: an origin that is not the registry's. */
  readonly strangerUrl?: string;
}

type Maker = (prng: Prng, faults: SeededFaults) => Fault;

const statuses = [400, 403, 405, 408, 416, 429, 500, 502, 503, 504, 520] as const;
const wrongDigest = `sha256:${'0'.repeat(64)}`;

/** Milliseconds: small, because a run draws hundreds of them. */
const shortDelayMs = 60;

const makers = {
  status: (prng) => {
    const status = prng.pick(statuses);
    return { kind: 'status', status, ...(status === 429 ? { retryAfter: 0 } : {}) };
  },
  delay: (prng) => ({
    kind: 'delay',
    ms: prng.integer(shortDelayMs),
    before: prng.pick(['headers', 'body']),
  }),
  drip: (prng) => ({ kind: 'drip', bytes: 1 + prng.integer(64), everyMs: 50 }),
  cut: (prng) => ({ kind: 'cut', atFraction: prng.next() }),
  stall: (prng) => ({ kind: 'stall', atFraction: prng.next() }),
  flip: (prng) => ({ kind: 'flip', atFraction: prng.next(), bit: prng.integer(8) }),
  truncate: (prng) => ({ kind: 'truncate', atFraction: prng.next() }),
  pad: (prng) => ({ kind: 'pad', bytes: 1 + prng.integer(4096) }),
  'content-length': (prng) => ({ kind: 'content-length', off: prng.pick([-7, -1, 1, 100]) }),
  'content-range': (prng) => ({
    kind: 'content-range',
    value: prng.pick([
      undefined,
      'bytes 0-0/1',
      'bytes 7-3/100',
      'bytes */*',
      'rubbish',
      'bytes 0-99999999999999999999/1',
    ]),
  }),
  'wrong-range': (prng) => ({ kind: 'wrong-range', shift: prng.pick([-1, 1, 512, -512, 65536]) }),
  'ignore-range': () => ({ kind: 'ignore-range' }),
  'digest-header': (prng) => ({
    kind: 'digest-header',
    value: prng.pick([undefined, wrongDigest, 'rubbish', '']),
  }),
  'content-type': (prng) => ({
    kind: 'content-type',
    value: prng.pick([undefined, 'text/html', 'application/vnd.oci.image.index.v1+json', ';;;']),
  }),
  redirect: (_prng, faults) => ({
    kind: 'redirect',
    to: (request) => `${faults.strangerUrl ?? 'http://127.0.0.1:1'}${request.path}`,
  }),
  'redirect-loop': (prng) => ({ kind: 'redirect-loop', distinct: prng.next() < 0.5 }),
  'huge-headers': (prng) => ({ kind: 'huge-headers', bytes: 20_000 + prng.integer(200_000) }),
  'huge-body': () => ({ kind: 'huge-body', bytes: 8 * 1024 * 1024 }),
  'garbage-json': () => ({ kind: 'garbage-json' }),
  reset: (prng) => ({ kind: 'reset', when: prng.pick(['request', 'handled', 'headers']) }),
  hang: () => ({ kind: 'hang' }),
} as const satisfies Partial<Record<FaultKind, Maker>>;

export type SeededKind = keyof typeof makers;

/** Everything that can be drawn. */
export const seededKinds = Object.keys(makers) as SeededKind[];

/** A chooser that remembers how often each thing was asked for. */
export function createSeededFaults(faults: SeededFaults): (request: RequestRecord) => Fault | undefined {
  const asked = new Map<string, number>();
  const root = createPrng(faults.seed);
  const kinds = faults.kinds ?? seededKinds;
  return (request) => {
    if (request.role === 'stranger' || faults.except?.(request) === true) return undefined;
    const { match } = faults;
    if (match?.role !== undefined && match.role !== request.role) return undefined;
    if (match?.path instanceof RegExp && !match.path.test(request.path)) return undefined;
    if (match?.when?.(request) === false) return undefined;
    const key = `${request.role} ${request.method} ${request.path} ${request.headers['range'] ?? ''}`;
    const times = asked.get(key) ?? 0;
    asked.set(key, times + 1);
    const prng = root.fork(`${key} ${times}`);
    if (prng.next() >= faults.probability) return undefined;
    const maker: Maker = makers[prng.pick(kinds)];
    const fault = maker(prng, faults);
    // A catalog with another name in it is what the registry says: nothing tells it from a true one, and what it leaves out
    // is not there.
    return fault.kind === 'flip' && request.path === '/v2/_catalog' ? undefined : fault;
  };
}
