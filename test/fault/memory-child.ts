/**
 * Not a test: one call against a registry, in a process whose memory is nobody else's. Prints a JSON line with the
 * growth of the peak resident size over a warm-up, and how the call ended.
 */
import { readBody } from '../support/bodies.js';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import type { RegistryStore } from '../../src/store/registry/registry-store.js';
import { hastyOptions, openTestStore } from '../support/registry-client.js';

export interface MemoryCase {
  readonly url: string;
  readonly act: string;
  /** Of a blob that is there. */
  readonly digest: Digest;
  readonly size: number;
}

export interface MemoryResult {
  readonly grewBytes: number;
  /** Error code, or `ok`. */
  readonly outcome: string;
  readonly message: string;
  /** Names listed, or bytes read. */
  readonly count: number;
}

async function countAll(items: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of items) count += 1;
  return count;
}

type Act = (store: RegistryStore, given: MemoryCase) => Promise<number>;

const acts: Readonly<Record<string, Act>> = {
  resolve: async (store) => (await store.resolve({ repository: 'a', tag: 'v1' })).descriptor.size,
  tags: (store) => countAll(store.tags('a')),
  catalog: (store) => countAll(store.repositories()),
  referrers: (store, { digest }) => countAll(store.referrers('a', digest)),
  stat: async (store, { digest }) => (await store.statBlob('a', digest)).size,
  blob: async (store, { digest, size }) => {
    const descriptor = { mediaType: mediaTypes.octetStream, digest, size };
    let count = 0;
    for await (const chunk of (await store.fetch('a', descriptor)).chunks) count += chunk.length;
    return count;
  },
  range: async (store, { digest, size }) => {
    const descriptor = { mediaType: mediaTypes.octetStream, digest, size };
    const range = { start: 10, end: 20 };
    return (await readBody(await store.fetch('a', descriptor, { range }))).length;
  },
  upload: async (store) => {
    const bytes = Buffer.from('small');
    const upload = await store.startUpload('a');
    await upload.write(bytes);
    return (await upload.finish(digestOf(bytes))).size;
  },
  delete: async (store) => {
    await store.deleteTag('a', 'v1');
    return 0;
  },
};

async function main(given: MemoryCase): Promise<MemoryResult> {
  const store = openTestStore(
    { host: new URL(given.url).host, url: given.url },
    {
      login: { username: 'me', password: 'pw' },
      // Time must not be what ends it: caps must.
      options: {
        ...hastyOptions,
        responseTimeoutMs: 10_000,
        callTimeoutMs: 20_000,
        stallWindowMs: 10_000,
        retries: 0,
      },
    },
  );
  const before = process.resourceUsage().maxRSS;
  let outcome = 'ok';
  let message = '';
  let count = 0;
  try {
    count = (await acts[given.act]?.(store, given)) ?? -1;
  } catch (error) {
    outcome = (error as { code?: string }).code ?? 'unknown';
    message = String(error);
  }
  const grewBytes = (process.resourceUsage().maxRSS - before) * 1024;
  await store.close();
  return { grewBytes, outcome, message: message.slice(0, 500), count };
}

const given = process.argv[2];
if (given !== undefined) {
  process.stdout.write(`${JSON.stringify(await main(JSON.parse(given) as MemoryCase))}\n`);
}
