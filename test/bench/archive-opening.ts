/**
 * Opening a docker-archive of 5 GB with 100 layers, beside reading its headers one after another and beside `tar --seek -t`:
 * from the disk, where its pages are dropped before each of the three, and from memory.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openArchiveStore } from '../../src/store/archive/archive-store.js';
import { memberHeader } from '../../src/store/archive/write/member-header.js';
import { digestHex, digestOf } from '../../src/oci/digest.js';
import { collect } from '../support/bodies.js';
import { letMemoryGo } from './let-memory-go.js';
import { median, spread, type Measurement } from './section.js';

const rounds = 101;
/**
 * Openings of a process in which V8 interprets what it compiles later: 1.5 to 1.7 times the headers in each ten of the first
 * twenty, 0.9 to 1.3 in each ten of the eighty behind them.
 */
const interpretedRounds = 20;
const layers = 100;
const layerBytes = 50 * 1024 * 1024;

/** As skopeo writes them: layers first, what says what they are last. */
async function writeArchive(path: string): Promise<void> {
  const diffIds = Array.from({ length: layers }, (_, at) => digestOf(Buffer.from(`layer ${at}`)));
  const history = diffIds.map((digest) => ({
    created: '2026-01-01T00:00:00Z',
    created_by: `/bin/sh -c #(nop) COPY file:${digestHex(digest)} in /`,
  }));
  const rootfs = { type: 'layers', diff_ids: diffIds };
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs, history }));
  const names = diffIds.map((digest) => `${digestHex(digest)}.tar`);
  const configName = `${digestHex(digestOf(config))}.json`;
  const manifest = Buffer.from(JSON.stringify([{ Config: configName, RepoTags: ['a:b'], Layers: names }]));
  const layer = randomBytes(layerBytes);
  const handle = await open(path, 'w');
  let at = 0;
  const add = async (name: string, content: Uint8Array): Promise<void> => {
    await handle.write(await memberHeader({ name, size: content.length }), 0, 512, at);
    await handle.write(content, 0, content.length, at + 512);
    at += 512 + Math.ceil(content.length / 512) * 512;
  };
  for (const name of names) await add(name, layer);
  await add(configName, config);
  await add('manifest.json', manifest);
  await handle.truncate(at + 1024);
  await handle.sync();
  await handle.close();
}

/** As fast as Node can: no way through the thread pool, no header looked at but for its size. */
function readHeaders(path: string): void {
  const descriptor = openSync(path, 'r');
  const block = Buffer.alloc(512);
  for (let at = 0; readSync(descriptor, block, 0, 512, at) === 512 && block[0] !== 0;) {
    at += 512 + Math.ceil(Number.parseInt(block.toString('latin1', 124, 135), 8) / 512) * 512;
  }
  closeSync(descriptor);
}

/** Ready for who browses it; closing is none of that. */
async function openAndList(path: string): Promise<() => Promise<void>> {
  const store = await openArchiveStore('docker-archive', path);
  await collect(store.repositories());
  return () => store.close();
}

/** POSIX_FADV_DONTNEED of all of the file, without root. */
function dropPages(path: string): void {
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
}

/**
 * While a hypervisor takes 5 GB away both processors stand still for 33 ms ten times a second, with 60 to 70 ms of stolen
 * time each: openings of 0.8 ms took 33 to 50 then.
 */
async function dropAllAndSettle(path: string): Promise<void> {
  dropPages(path);
  await letMemoryGo(reportedAfterMs);
}

const reportedAfterMs = 10_000;

const names = ['read', 'opened', 'listed'] as const;
type Times = Record<(typeof names)[number], number[]>;

/** In another order each round, so that none is always the one behind a certain other. */
async function measure(path: string, prepare: (path: string) => void, onRound: () => void): Promise<Times> {
  const contenders: Record<(typeof names)[number], () => Promise<(() => Promise<void>) | undefined>> = {
    read: async () => {
      readHeaders(path);
      return undefined;
    },
    opened: () => openAndList(path),
    listed: async () => void execFileSync('tar', ['--seek', '-tf', path]),
  };
  const times: Times = { read: [], opened: [], listed: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const at of names.keys()) {
      const name = names[(at + round) % names.length] ?? 'read';
      prepare(path);
      const startedAt = performance.now();
      const close = await contenders[name]();
      times[name].push(performance.now() - startedAt);
      await close?.();
    }
    onRound();
  }
  return times;
}

/** Of each round by itself: what a disk costs changes from second to second. */
const ratios = (some: readonly number[], others: readonly number[]): number[] =>
  some.map((value, at) => value / (others[at] ?? Number.NaN));

/** Median, and where the middle half lies. */
function quartiles(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.floor(sorted.length * share)] ?? Number.NaN).toFixed(2);
  return `${median(values).toFixed(2)} (half: ${at(0.25)}–${at(0.75)})`;
}

/** Rows of both kinds of opening; the archive is written into `directory`. */
export async function* archiveOpening(directory: string): AsyncGenerator<Measurement> {
  const path = join(directory, 'large.tar');
  await writeArchive(path);
  await dropAllAndSettle(path);
  const before = process.memoryUsage.rss();
  let most = before;
  for (const [where, prepare] of [
    ['on the disk', dropPages],
    ['in memory', () => undefined],
  ] as const) {
    const times = await measure(path, prepare, () => {
      most = Math.max(most, process.memoryUsage.rss());
    });
    yield* openingRows(where, times);
  }
  const grown = (most - before) / 2 ** 20;
  yield {
    what: '… memory more than before, MiB',
    measured: grown.toFixed(0),
    figure: '<= 100',
    reached: grown <= 100,
  };
}

function* openingRows(where: 'on the disk' | 'in memory', times: Times): Generator<Measurement> {
  const isFigure = where === 'on the disk';
  const [first = Number.NaN, ...later] = times.opened;
  yield {
    what: `docker-archive of 5 GB ${where}: first opening${isFigure ? ' of a process' : ''}, ms`,
    measured: first.toFixed(1),
    figure: '',
  };
  yield {
    what: '… later openings, ms',
    measured: spread(later, 1),
    figure: '< 200',
    reached: median(later) < 200,
  };
  yield { what: '… reading its headers, ms', measured: spread(times.read, 1), figure: '' };
  yield { what: '… `tar --seek -t`, ms', measured: spread(times.listed, 1), figure: '' };
  const againstRead = ratios(later, times.read.slice(1));
  yield {
    what: '… opening against reading its headers, by round',
    measured: quartiles(againstRead),
    figure: isFigure ? '<= 1.2' : '',
    ...(isFigure ? { reached: median(againstRead) <= 1.2 } : {}),
  };
  yield {
    what: `… the same of openings 2 to ${interpretedRounds}`,
    measured: quartiles(againstRead.slice(0, interpretedRounds - 1)),
    figure: '',
  };
  yield {
    what: '… opening against `tar --seek -t`, by round',
    measured: quartiles(ratios(later, times.listed.slice(1))),
    figure: '',
  };
}
