/** A tree over scripted stores and a cache in memory, with a clock that tests move. */
import { createStoreDirectory } from '../../src/image/stores.js';
import { ErrorLog } from '../../src/observe/error-log.js';
import type { ImageStore } from '../../src/store/store.js';
import { createFileSystem, type FileSystemOptions } from '../../src/vfs/create-file-system.js';
import type { FileSystem } from '../../src/vfs/file-system.js';
import { walk, type Walker } from './file-system-walker.js';
import { createMemoryContent, type MemoryContent } from './memory-content.js';
import { CountingStore, type CountingStoreOptions } from './counting-store.js';

export const host = 'registry.test';
export const mountTimeMs = Date.UTC(2026, 0, 2, 3, 4, 5);

export interface Fixture extends Walker {
  readonly fileSystem: FileSystem;
  /** The registry at {@link host}. */
  readonly store: CountingStore;
  readonly content: MemoryContent;
  readonly errorLog: ErrorLog;
  /** Let time pass, in milliseconds. */
  readonly advance: (byMs: number) => void;
}

export interface FixtureOptions extends CountingStoreOptions {
  readonly locals?: ReadonlyMap<string, ImageStore>;
  readonly fileSystem?: Partial<FileSystemOptions>;
  readonly content?: MemoryContent;
}

export function createFixture(options: FixtureOptions = {}): Fixture {
  const content = options.content ?? createMemoryContent();
  const store = new CountingStore(options);
  const opened: string[] = [];
  const stores = createStoreDirectory({
    openRegistry: async (name) => {
      opened.push(name);
      if (`docker://${name}` === store.id) return store;
      return new CountingStore({ id: `docker://${name}` });
    },
    locals: new Map([...(options.locals ?? [])].map(([name, local]) => [name, async () => local])),
  });
  let time = mountTimeMs;
  const errorLog = new ErrorLog();
  const fileSystem = createFileSystem({
    stores,
    content,
    errorLog,
    mountTimeMs,
    now: () => time,
    platform: { os: 'linux', architecture: 'amd64' },
    uid: 1000,
    gid: 1001,
    ...options.fileSystem,
  });
  return {
    ...walk(fileSystem),
    fileSystem,
    store,
    content,
    errorLog,
    advance: (byMs) => {
      time += byMs;
    },
  };
}
