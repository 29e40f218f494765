/**
 * Promises 13 and 14: whatever a registry sends, memory stays bounded (64 MiB of growth for each case) and lists end.
 * Each case runs in a process of its own, with a heap as the daemon has it: left alone, V8 alone takes 48 MiB for what is
 * young. What it is sent would be 200 MiB or has no end at all.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { heapFlags } from '../../src/cli/mount/daemon.js';
import { run } from '../support/child.js';
import { startFaultRegistry, type Fault, type FaultMatch } from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import type { MemoryCase, MemoryResult } from './memory-child.js';

const program = [...heapFlags, fileURLToPath(new URL('memory-child.js', import.meta.url))];
const mebibyte = 1024 * 1024;
const bomb = 200 * mebibyte;
/** Promise 13. */
const allowedGrowth = 64 * mebibyte;

interface Bomb {
  readonly act: string;
  readonly match?: FaultMatch;
  readonly fault: Fault;
  /** How it may end; anything of ours but these is a finding. */
  readonly outcomes: readonly string[];
  readonly bearer?: boolean;
}

const refused = ['protocol', 'too-large', 'integrity', 'unavailable', 'invalid-content'];
const json = { 'Content-Type': 'application/json' };
const manifestType = { 'Content-Type': 'application/vnd.oci.image.manifest.v1+json' };
/** Within the caps in bytes, but not in depth: each bracket costs `JSON.parse` some 100 bytes. */
const nested = `${'['.repeat(2_000_000)}${']'.repeat(2_000_000)}`;

const bombs: Readonly<Record<string, Bomb>> = {
  'a manifest': {
    act: 'resolve',
    match: { method: 'GET', path: /manifests/ },
    fault: { kind: 'huge-body', bytes: bomb, prefix: '{"config":"', headers: manifestType },
    outcomes: ['ok', ...refused],
  },
  'a manifest behind a HEAD without digest': {
    act: 'resolve',
    match: { path: /manifests/ },
    fault: { kind: 'huge-body', bytes: Infinity, prefix: '{"config":"', headers: manifestType },
    outcomes: refused,
  },
  'an error body': {
    act: 'resolve',
    fault: { kind: 'huge-body', bytes: Infinity, status: 500, prefix: '{"errors":[{"code":"' },
    outcomes: ['unavailable'],
  },
  'the body of a 403': {
    act: 'tags',
    fault: { kind: 'huge-body', bytes: Infinity, status: 403, prefix: '<html>' },
    outcomes: ['denied'],
  },
  'the body of a 404': {
    act: 'blob',
    match: { path: /blobs/ },
    fault: { kind: 'huge-body', bytes: Infinity, status: 404 },
    outcomes: ['not-found'],
  },
  'the body of a 401': {
    act: 'tags',
    fault: {
      kind: 'huge-body',
      bytes: Infinity,
      status: 401,
      headers: { 'WWW-Authenticate': 'Basic realm="x"' },
    },
    outcomes: ['unauthorized'],
  },
  'the body of a 429': {
    act: 'tags',
    fault: { kind: 'huge-body', bytes: Infinity, status: 429 },
    outcomes: ['rate-limited'],
  },
  'the body of a 416': {
    act: 'range',
    match: { path: /blobs/ },
    fault: { kind: 'huge-body', bytes: Infinity, status: 416, headers: { 'Content-Range': 'bytes */5' } },
    outcomes: refused,
  },
  'the body of a redirect': {
    act: 'blob',
    match: { path: /blobs/ },
    fault: { kind: 'huge-body', bytes: Infinity, status: 307, headers: { Location: '/v2/' } },
    outcomes: refused,
  },
  'the body of a redirect to itself': {
    act: 'blob',
    match: { path: /blobs/ },
    fault: { kind: 'huge-body', bytes: Infinity, status: 307, headers: { Location: 'x' } },
    outcomes: refused,
  },
  'a token': {
    act: 'tags',
    bearer: true,
    match: { path: '/token' },
    fault: { kind: 'huge-body', bytes: bomb, prefix: '{"token":"' },
    outcomes: refused,
  },
  'a refused token': {
    act: 'tags',
    bearer: true,
    match: { path: '/token' },
    fault: { kind: 'huge-body', bytes: Infinity, status: 401, prefix: '{"errors":"' },
    outcomes: ['unauthorized'],
  },
  'one tag without end': {
    act: 'tags',
    match: { path: /tags/ },
    fault: { kind: 'huge-body', bytes: Infinity, prefix: '{"tags":["', headers: json },
    outcomes: refused,
  },
  'whitespace for tags': {
    act: 'tags',
    match: { path: /tags/ },
    fault: { kind: 'huge-body', bytes: 300 * mebibyte, prefix: '{"name":"', headers: json },
    outcomes: refused,
  },
  'one repository without end': {
    act: 'catalog',
    match: { path: /_catalog/ },
    fault: { kind: 'huge-body', bytes: Infinity, prefix: '{"repositories":["', headers: json },
    outcomes: refused,
  },
  'nested lists for tags': {
    act: 'tags',
    match: { path: /tags/ },
    fault: { kind: 'body', body: `{"tags":${nested}}`, contentType: 'application/json' },
    outcomes: ['ok', ...refused],
  },
  'endless pages of tags': {
    act: 'tags',
    match: { path: /tags/ },
    fault: { kind: 'endless-pages', perPage: 1 },
    outcomes: refused,
  },
  'the same page of tags again': {
    act: 'tags',
    match: { path: /tags/ },
    fault: { kind: 'endless-pages', repeat: true },
    outcomes: refused,
  },
  'endless empty pages': {
    act: 'tags',
    match: { path: /tags/ },
    fault: { kind: 'endless-pages', perPage: 0 },
    outcomes: refused,
  },
  'endless pages of repositories': {
    act: 'catalog',
    match: { path: /_catalog/ },
    fault: { kind: 'endless-pages', perPage: 0 },
    outcomes: refused,
  },
  'endless pages of referrers': {
    act: 'referrers',
    match: { path: /referrers/ },
    fault: { kind: 'endless-pages' },
    outcomes: refused,
  },
  referrers: {
    act: 'referrers',
    match: { path: /referrers/ },
    fault: {
      kind: 'huge-body',
      bytes: bomb,
      prefix: '{"manifests":[{"digest":"',
      headers: { 'Content-Type': 'application/vnd.oci.image.index.v1+json' },
    },
    outcomes: refused,
  },
  'nested referrers': {
    act: 'referrers',
    match: { path: /referrers/ },
    fault: { kind: 'body', body: `{"manifests":${nested}}` },
    outcomes: ['ok', ...refused],
  },
  'a nested token': {
    act: 'tags',
    bearer: true,
    match: { path: '/token' },
    fault: { kind: 'body', body: `{"token":${nested.slice(1_600_000, 2_400_000)}}` },
    outcomes: refused,
  },
  'a nested manifest of unknown type': {
    act: 'resolve',
    match: { path: /manifests/ },
    fault: { kind: 'body', body: `{"layers":${nested}}`, contentType: 'application/json' },
    outcomes: refused,
  },
  headers: {
    act: 'resolve',
    fault: { kind: 'huge-headers', bytes: 50 * mebibyte },
    outcomes: refused,
  },
  'hundreds of challenges': {
    act: 'resolve',
    fault: {
      kind: 'status',
      status: 401,
      headers: {
        'WWW-Authenticate': Array.from(
          { length: 400 },
          (_, at) => `Bearer realm="/${at}",x="\\"${','.repeat(20)}"`,
        ),
      },
    },
    outcomes: [...refused, 'unauthorized', 'denied'],
  },
  'a blob longer than its descriptor': {
    act: 'blob',
    match: { path: /blobs/ },
    fault: { kind: 'huge-body', bytes: Infinity },
    outcomes: refused,
  },
  'a range longer than asked for': {
    act: 'range',
    match: { path: /blobs/ },
    fault: {
      kind: 'huge-body',
      bytes: Infinity,
      status: 206,
      headers: { 'Content-Range': 'bytes 10-19/100000' },
    },
    outcomes: [...refused, 'ok'],
  },
  'the answer to HEAD': {
    act: 'stat',
    match: { method: 'HEAD' },
    fault: { kind: 'huge-body', bytes: Infinity },
    outcomes: ['ok', ...refused],
  },
  'the answer to POST': {
    act: 'upload',
    match: { method: 'POST' },
    fault: {
      kind: 'huge-body',
      bytes: Infinity,
      status: 202,
      headers: { Location: '/v2/a/blobs/uploads/x' },
    },
    outcomes: [...refused, 'stale', 'not-found'],
  },
  'the answer to PUT': {
    act: 'upload',
    match: { method: 'PUT' },
    fault: { kind: 'huge-body', bytes: Infinity, status: 201 },
    outcomes: ['ok', ...refused],
  },
  'the answer to DELETE': {
    act: 'delete',
    match: { method: 'DELETE' },
    fault: { kind: 'huge-body', bytes: Infinity, status: 202 },
    outcomes: ['ok', ...refused],
  },
};

async function explode({ act, match, fault, bearer }: Bomb): Promise<MemoryResult> {
  const users = { me: 'pw' };
  const registry = await startFaultRegistry({
    auth: bearer === true ? { kind: 'bearer', users } : { kind: 'none' },
  });
  try {
    const image = await sampleImage({ payloadBytes: 100_000 });
    registry.addImage('a', image, 'v1');
    const layer = image.layers[1]?.descriptor ?? image.descriptor;
    registry.fault({ match: { role: 'registry', ...match }, fault });
    const given: MemoryCase = { url: registry.url, act, digest: layer.digest, size: layer.size };
    const result = await run(process.execPath, [...program, JSON.stringify(given)], { timeoutMs: 90_000 });
    assert.equal(result.code, 0, `${result.stdout}${result.stderr}`);
    return JSON.parse(result.stdout) as MemoryResult;
  } finally {
    await registry.close();
  }
}

describe('bounded memory', { concurrency: 2 }, () => {
  for (const [name, bombCase] of Object.entries(bombs)) {
    void test(name, { timeout: 100_000 }, async () => {
      const result = await explode(bombCase);
      const text = `${result.outcome} ${result.message}`;
      assert.ok(bombCase.outcomes.includes(result.outcome), text);
      const grew = `${Math.round(result.grewBytes / mebibyte)} MiB`;
      assert.ok(result.grewBytes < allowedGrowth, `grew by ${grew}, ${text}`);
    });
  }

  void test('a million tags are streamed', { timeout: 60_000 }, async () => {
    const registry = await startFaultRegistry();
    try {
      const image = await sampleImage({ payloadBytes: 10 });
      const { digest, size } = registry.addImage('a', image, 'v1');
      const tags = Array.from({ length: 1_000_000 }, (_, at) => `"tag-${String(at).padStart(9, '0')}"`);
      const body = `{"name":"a","tags":[${tags.join(',')}]}`;
      registry.fault({ match: { path: /tags/ }, fault: { kind: 'body', body } });
      const given: MemoryCase = { url: registry.url, act: 'tags', digest, size };
      const child = await run(process.execPath, [...program, JSON.stringify(given)], { timeoutMs: 50_000 });
      const result = JSON.parse(child.stdout) as MemoryResult;
      assert.deepEqual([result.outcome, result.count], ['ok', 1_000_000]);
      assert.ok(result.grewBytes < allowedGrowth, `${Math.round(result.grewBytes / mebibyte)} MiB`);
    } finally {
      await registry.close();
    }
  });
});
