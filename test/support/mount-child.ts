/**
 * Program: serves the sample tree of `sample-tree.ts` at a mount point until it is told to stop. Tests start it as a
 * child, because a process must never touch a mount that it serves itself.
 *
 *   node mount-child.js <driver> <mount point> <scratch folder> [options as JSON]
 *
 * One command per line on stdin, one JSON answer per line on stdout:
 *   statistics | counts | burn <ms> | expire <parent inode> <name> | expire-attributes <inode>
 *   grow <text> | unmount | force | exit
 */
import { createInterface } from 'node:readline';
import type { FuseDriver, MountOptions } from '../../src/fuse/driver.js';
import type { Inode } from '../../src/vfs/file-system.js';
import { nameFromText } from '../../src/vfs/name.js';
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
const { fileSystem, log } = sampleTree(scratch);
const driver = await loadDriver(driverName);
const session = await driver.mount(mountPoint, fileSystem, {
  ...options,
  onError: (operation, error) => {
    errors.push(`${operation}: ${error instanceof Error ? error.message : String(error)}`);
  },
});
void session.closed.then(() => say({ event: 'closed' }));
say({ event: 'ready', pid: process.pid });

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
        log,
      };
    case 'burn': {
      // JavaScript is busy in slices, as while inflating; answers so that the caller knows when it began.
      const until = Date.now() + Number(words[0]);
      const slice = (): void => {
        const end = Date.now() + 50;
        while (Date.now() < end);
        if (Date.now() < until) setImmediate(slice);
      };
      setImmediate(slice);
      return { burning: true };
    }
    case 'expire':
      fileSystem.notifier?.expireEntry(Number(words[0]) as Inode, nameFromText(words[1] ?? ''));
      return {};
    case 'expire-attributes':
      fileSystem.notifier?.expireAttributes(Number(words[0]) as Inode);
      return {};
    case 'grow': {
      const node = fileSystem.root.children.get(nameFromText('tag'));
      if (node === undefined) throw new Error('no node');
      node.content = Buffer.from(words.join(' '));
      node.size = node.content.length;
      return { inode: node.inode };
    }
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
