/** Not a test: stores with one defect each, which the suite must find. `store-suite-teeth.test.ts` runs it. */
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import type { Body } from '../../src/store/store.js';
import { MemoryStore } from '../support/memory-store.js';
import { storeSuite } from './store-suite.js';

type Break = (store: MemoryStore) => void;

function withBody(store: MemoryStore, change: (body: Body) => Body): void {
  const fetch = store.fetch.bind(store);
  store.fetch = async (...words) => change(await fetch(...words));
}

async function* mapped(
  chunks: AsyncIterable<Uint8Array>,
  change: (chunk: Uint8Array) => Uint8Array,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) yield change(chunk);
}

/** One defect each. */
export const breaks: Readonly<Record<string, Break>> = {
  'flips a bit': (store) =>
    withBody(store, (body) => ({
      ...body,
      chunks: mapped(body.chunks, (chunk) =>
        Uint8Array.from(chunk, (byte, at) => (at === 0 ? byte ^ 1 : byte)),
      ),
    })),
  'loses the last byte': (store) =>
    withBody(store, (body) => ({
      ...body,
      chunks: mapped(body.chunks, (chunk) =>
        chunk.length === 1 ? chunk : chunk.subarray(0, chunk.length - 1),
      ),
    })),
  'says a range starts at 0': (store) => withBody(store, (body) => ({ ...body, start: 0 })),
  'calls an absent tag unavailable': (store) => {
    const resolve = store.resolve.bind(store);
    store.resolve = async (...words) =>
      resolve(...words).catch(() => {
        throw new ImgfsError('unavailable', 'no answer');
      });
  },
  'ignores signals': (store) => {
    const resolve = store.resolve.bind(store);
    store.resolve = (target) => resolve(target);
  },
  'lists a tag twice': (store) => {
    const tags = store.tags.bind(store);
    store.tags = async function* (...words) {
      for await (const tag of tags(...words)) {
        yield tag;
        if (tag === 'latest') yield tag;
      }
    };
  },
  'takes any digest': (store) => {
    const start = store.startUpload.bind(store);
    store.startUpload = async (...words) => {
      const upload = await start(...words);
      return Object.assign(upload, {
        finish: async (digest: never) => ({ mediaType: 'x', digest, size: 0 }),
      });
    };
  },
  'forgets to delete': (store) => {
    store.deleteTag = async () => {};
  },
  'lost its referrers': (store) => Object.assign(store, { referrers: undefined }),
};

const chosen = process.env['BROKEN_STORE'];
const broken = chosen === undefined ? undefined : breaks[chosen];
if (broken !== undefined) {
  storeSuite(
    `broken: ${chosen}`,
    async () => {
      const store = new MemoryStore();
      broken(store);
      return {
        store,
        repository: 'group/app',
        otherRepository: 'other',
        addImage: async (repository, image, tag) => store.addImage(repository, image, tag),
        reopen: async () => store.reopen(),
      };
    },
    { features: ['tags', 'repositories', 'statBlob', 'referrers', 'push', 'delete'] },
  );
}
