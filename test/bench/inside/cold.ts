/** An image that was never seen: each operation on a mount with an empty cache, and the peers from nothing. */
import { join } from 'node:path';
import { rm } from 'node:fs/promises';
import type { Measurement } from '../section.js';
import { dropPageCache, dropPageCacheAndSettle, type Ground } from './ground.js';
import { operationNames, operations, type Operation } from './operations.js';
import { curlHashed, curlUntarred, operate, peers } from './peers.js';
import { diskMebibytes, showHeld, visit, type Held } from './visit.js';

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

interface ColdCost {
  readonly ms: number;
  readonly bytesDown: number;
  readonly diskMebibytes: number;
  readonly residentMebibytes: number;
  readonly held: Held;
}

async function coldCost(ground: Ground, operation: Operation): Promise<ColdCost> {
  await dropPageCacheAndSettle();
  const cache = join(ground.directory, `cold-${operation}`);
  const mounted = await visit(ground, cache);
  try {
    const { ms, bytesDown } = await mounted.measure(operations[operation]);
    return {
      ms,
      bytesDown,
      diskMebibytes: await diskMebibytes(cache),
      residentMebibytes: await mounted.residentMebibytes(),
      held: await mounted.held(),
    };
  } finally {
    await mounted.end();
    await rm(cache, { recursive: true, force: true });
  }
}

/** The measurement of one operation of ours. */
function row(operation: Operation, cost: ColdCost): Measurement {
  const { ms, bytesDown, residentMebibytes, held } = cost;
  const reached = residentMebibytes < 200 && held.longestMs <= 10;
  return {
    what: `never seen: ${operation}`,
    measured: [
      seconds(ms),
      mebibytes(bytesDown),
      `disk ${cost.diskMebibytes.toFixed(0)} MiB`,
      `memory ${residentMebibytes.toFixed(0)} MiB`,
      showHeld(held),
    ].join(', '),
    figure: '< 200 MiB, <= 10 ms',
    reached,
  };
}

/** Cold operations, ours and the peers', one of each in turn. */
export async function* cold(ground: Ground): AsyncIterable<Measurement> {
  const ours = new Map<Operation, ColdCost>();
  for (const operation of operationNames) {
    const cost = await coldCost(ground, operation);
    ours.set(operation, cost);
    yield row(operation, cost);
    if (operation === 'cat') {
      await dropPageCacheAndSettle();
      const hashed = await curlHashed(ground);
      yield {
        what: '  against curl | sha256sum of all layers',
        measured: `${(cost.ms / hashed).toFixed(2)} (${seconds(hashed)})`,
        figure: '<= 1.15',
        reached: cost.ms <= 1.15 * hashed,
      };
    }
  }
  const whole = ours.get('tar')?.ms ?? Number.NaN;
  for (const [how, name] of [
    ['kept', 'curl, then tar x'],
    ['piped', 'curl | tar x'],
  ] as const) {
    await dropPageCacheAndSettle();
    const untarred = await curlUntarred(ground, how);
    yield {
      what: `  tar against ${name} of all layers`,
      measured: `${(whole / untarred).toFixed(2)} (${seconds(untarred)})`,
      figure: '<= 1.1',
      reached: whole <= 1.1 * untarred,
    };
  }
  for (const peer of peers) yield* peerRows(ground, peer, ours);
}

async function* peerRows(
  ground: Ground,
  peer: (typeof peers)[number],
  ours: ReadonlyMap<Operation, ColdCost>,
): AsyncIterable<Measurement> {
  await dropPageCache();
  ground.proxy.resetCounters();
  const prepared = await peer.prepare(ground);
  try {
    yield {
      what: `${peer.name}: until the first byte`,
      measured: `${seconds(prepared.prepareMs)}, ${mebibytes(ground.proxy.bytesDown())}`,
      figure: '',
    };
    for (const operation of operationNames) {
      const total = prepared.prepareMs + (await operate(prepared.rootfs, operations[operation]));
      const cost = ours.get(operation)?.ms ?? Number.NaN;
      yield {
        what: `  ${operation}: ours against it`,
        measured: `${(cost / total).toFixed(2)} (${seconds(total)})`,
        figure: '< 1',
        reached: cost < total,
      };
    }
  } finally {
    await prepared.remove();
  }
}
