/**
 * Program: serves the sample tree of `sample-tree.ts` at a mount point until it is told to stop. Tests start it as a
 * child, because a process must never touch a mount that it serves itself.
 *
 * `IMGFS_TEST_TREE=bench` serves the tree of `bench-tree.ts` instead.
 *
 *   node mount-child.js <driver> <mount point> <scratch folder> [options as JSON]
 *
 * One command per line on stdin, one JSON answer per line on stdout:
 *   statistics | counts | burn <ms> | block <ms> | complete | evict | expire <parent inode> <name> | expire-attributes <inode>
 *   expire-content <inode> | grow <text> | dawdle <ms> | unmount | force | exit
 */
import { copyFileSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import type { FuseDriver, MountOptions } from '../../src/fuse/driver.js';
import type { Inode } from '../../src/vfs/file-system.js';
import { nameFromText } from '../../src/vfs/name.js';
import type { MemoryNode } from './memory-file-system.js';
import { benchTree } from './bench-tree.js';
import { sampleTree } from './sample-tree.js';

async function loadDriver(name: string): Promise<FuseDriver> {
  if (name === 'native') return (await import('../../src/fuse/native/driver.js')).nativeDriver;
  return (await import('../../src/fuse/fuse-native/driver.js')).fuseNativeDriver;
}

function say(answer: unknown): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const [driverName = 'native', mountPoint = '', scratch = '', optionsText = '{}'] = process.argv.slice(2);
const options: MountOptions = {
  readOnly: true,
  allowOther: false,
  fsName: 'sample',
  operationTimeoutMs: 20_000,
  ...(JSON.parse(optionsText) as Partial<MountOptions>),
};
const errors: string[] = [];
let burnUntil = 0;
const fileSystem = process.env['IMGFS_TEST_TREE'] === 'bench' ? benchTree() : sampleTree(scratch);
const driver = await loadDriver(driverName);
const session = await driver.mount(mountPoint, fileSystem, {
  ...options,
  onError: (operation, error) => {
    // The last ones: a soak makes many.
    if (errors.length >= 1000) errors.shift();
    errors.push(`${operation}: ${error instanceof Error ? error.message : String(error)}`);
  },
});
/** What `dawdle` found: lookups in the turn of the event loop that had most of them. */
const dawdled = { inTurn: 0, most: 0 };

/** From now on work follows each lookup, in the same turn, while the client asks for the next name. */
function dawdle(ms: number): void {
  const lookup = fileSystem.lookup.bind(fileSystem);
  fileSystem.lookup = async (...words) => {
    dawdled.inTurn += 1;
    dawdled.most = Math.max(dawdled.most, dawdled.inTurn);
    const found = await lookup(...words);
    void (async () => {
      // Behind the answer, which takes a few.
      for (let microtask = 0; microtask < 20; microtask += 1) await Promise.resolve();
      const end = performance.now() + ms;
      while (performance.now() < end);
    })();
    return found;
  };
  const nextTurn = (): void => {
    dawdled.inTurn = 0;
    setImmediate(nextTurn);
  };
  nextTurn();
}

void session.closed.then(() => say({ event: 'closed' }));
say({ event: 'ready', pid: process.pid });

function node(name: string): MemoryNode {
  const found = fileSystem.root.children.get(nameFromText(name));
  if (found === undefined) throw new Error(`no node ${name}`);
  return found;
}

async function answer(line: string): Promise<unknown> {
  const [command = '', ...words] = line.split(' ');
  switch (command) {
    case 'statistics':
      return { ...session.statistics(), rss: process.memoryUsage().rss };
    case 'counts':
      return {
        calls: fileSystem.calls,
        lookups: [...fileSystem.lookups.values()].reduce((sum, count) => sum + count, 0),
        openFiles: fileSystem.openFiles.size,
        openDirectories: fileSystem.openDirectories.size,
        fills: fileSystem.fills,
        abortedFills: fileSystem.abortedFills,
        errors,
      };
    case 'burn': {
      // JavaScript is busy in slices, as while inflating; answers so that the caller knows when it began.
      const wasBurning = Date.now() < burnUntil;
      burnUntil = Date.now() + Number(words[0]);
      const slice = (): void => {
        const end = Date.now() + 50;
        while (Date.now() < end);
        if (Date.now() < burnUntil) setImmediate(slice);
      };
      if (!wasBurning) setImmediate(slice);
      return { burning: true };
    }
    case 'block': {
      const end = Date.now() + Number(words[0]);
      while (Date.now() < end);
      return { blocked: true };
    }
    case 'complete': {
      // The rest of the sparse file arrives, from elsewhere.
      const { backing, size } = node('sparse');
      await backing?.fill({ start: 0, end: size }, AbortSignal.timeout(10_000));
      if (backing !== undefined) backing.complete = true;
      return {};
    }
    case 'evict': {
      // As the cache does it: the file loses its name, and the content is made anew elsewhere.
      const { backing } = node('big');
      if (backing === undefined) throw new Error('no backing');
      copyFileSync(backing.path, `${backing.path}.new`);
      rmSync(backing.path);
      backing.path = `${backing.path}.new`;
      return {};
    }
    case 'expire':
      fileSystem.notifier?.expireEntry(Number(words[0]) as Inode, nameFromText(words[1] ?? ''));
      return {};
    case 'expire-attributes':
      fileSystem.notifier?.expireAttributes(Number(words[0]) as Inode);
      return {};
    case 'expire-content':
      fileSystem.notifier?.expireContent(Number(words[0]) as Inode);
      return {};
    case 'grow': {
      const tag = node('tag');
      tag.content = Buffer.from(words.join(' '));
      tag.size = tag.content.length;
      return { inode: tag.inode };
    }
    case 'dawdle':
      if (words[0] !== undefined) dawdle(Number(words[0]));
      return dawdled;
    case 'fail-flush':
      fileSystem.flushFailure = new ImgfsError('digest-mismatch', 'the content is not what its name says');
      return {};
    case 'unmount':
      await session.unmount();
      return {};
    case 'force':
      await session.unmount({ force: true });
      return {};
    case 'exit':
      setImmediate(() => process.exit(0));
      return {};
    default:
      throw new Error(`no command ${command}`);
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  answer(line).then(
    (result) => say({ answer: result }),
    (error: unknown) =>
      say({
        error:
          error instanceof Error ? `${(error as { code?: string }).code}: ${error.message}` : String(error),
      }),
  );
});
