/**
 * The hostile archives as the only layer of an image: what `rootfs/` shows of each against what umoci unpacks, by path,
 * type, mode, owner, size, time and link. Needs root (owners, devices) and umoci.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { mergeTables } from '../../../src/layer/merge/merge-layers.js';
import { skipWithout } from '../../support/child.js';
import { hostileCases, type HostileCase } from '../../support/hostile-tar-cases.js';
import { buildImage } from '../../support/image-builder.js';
import { tableOf } from '../../support/layer-tables.js';
import { writeLayout } from '../../support/layout-writer.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { umociDiffers } from './hostile-tar-oracles.js';

const run = promisify(execFile);

/** One line for each path, sorted; undefined: the archive is refused. */
type Listing = readonly string[] | undefined;

const kinds = {
  file: 'f',
  directory: 'd',
  symlink: 'l',
  char: 'c',
  block: 'b',
  fifo: 'p',
  hardlink: 'h',
  other: '?',
} as const;

/** What a merged tree of this one layer holds, without the root, whose attributes are those of the folder. */
async function ours(archive: Uint8Array): Promise<Listing> {
  const table = ((): ReturnType<typeof tableOf> | undefined => {
    try {
      return tableOf(archive);
    } catch {
      return undefined;
    }
  })();
  if (table === undefined) return undefined;
  const tree = await mergeTables([{ table }]);
  const lines: string[] = [];
  const pending = [...tree.children(tree.root)];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    pending.push(...tree.children(node));
    const { kind, mode, uid, gid, size, mtimeNs } = tree.attributes(node);
    const isMade = kind === 'directory' && tree.entryOf(node) === undefined;
    const seconds = kind === 'directory' || isMade ? '' : String(mtimeNs / 1_000_000_000n);
    const link = kind === 'symlink' ? tree.linkPath(node) : '';
    const length = kind === 'file' ? size : 0;
    lines.push([tree.path(node), kinds[kind], mode.toString(8), uid, gid, length, seconds, link].join(' '));
  }
  return lines.sort();
}

async function theirs(layout: string, tag: string, folder: string): Promise<Listing> {
  try {
    // A file of 4 PiB is not written out.
    const command = ['--fsize=16777216', 'umoci', 'raw', 'unpack', '--image', `${layout}:${tag}`, folder];
    await run('prlimit', command, { timeout: 60_000 });
  } catch {
    return undefined;
  }
  const format = String.raw`%P\0%y\0%m\0%U\0%G\0%s\0%T@\0%l\0`;
  const { stdout } = await run('find', [folder, '-mindepth', '1', '-printf', format], {
    encoding: 'latin1',
    maxBuffer: 1 << 26,
  });
  const fields = stdout.split('\0').slice(0, -1);
  const lines: string[] = [];
  for (let at = 0; at < fields.length; at += 8) {
    const [path = '', kind = '', mode, uid, gid, size, time = '', link] = fields.slice(at, at + 8);
    const seconds = kind === 'd' ? '' : time.replace(/\..*/, '');
    lines.push([path, kind, mode, uid, gid, kind === 'f' ? size : 0, seconds, link].join(' '));
  }
  return lines.sort();
}

const skip = process.getuid?.() === 0 ? skipWithout('umoci', 'prlimit', 'find') : 'needs root';

describe('hostile archives, as umoci unpacks them', { skip, timeout: 300_000 }, () => {
  const unpacked = new Map<string, Listing>();

  before(async () => {
    const scratch = await makeTempDir('hostile-umoci');
    const layout = join(scratch, 'layout');
    const mediaType = 'application/vnd.oci.image.layer.v1.tar';
    const entries = await Promise.all(
      hostileCases.map(async ({ archive }, index) => ({
        image: await buildImage({ layers: [{ entries: archive, packed: archive, mediaType }] }),
        name: `t${index}`,
      })),
    );
    await writeLayout(layout, entries);
    const queue = [...hostileCases.entries()];
    const worker = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        const [index, { name }] = next;
        const folder = join(scratch, String(index));
        unpacked.set(name, await theirs(layout, `t${index}`, folder));
        await run('rm', ['-rf', folder]);
      }
    };
    await Promise.all([worker(), worker()]);
    await removeTempDir(scratch);
  });

  const compare = async ({ name, archive }: HostileCase): Promise<void> => {
    const [here, there] = [await ours(archive), unpacked.get(name)];
    if (JSON.stringify(here) === JSON.stringify(there)) return;
    const [pattern] = umociDiffers.find(([names]) => names.test(name)) ?? [];
    const both = { ours: here?.slice(0, 4), umoci: there?.slice(0, 4) };
    assert.ok(pattern, JSON.stringify(both).slice(0, 600));
  };

  for (const one of hostileCases) test(`hostile tar: ${one.name}`, () => compare(one));

  test('every reason to differ is one of a case that exists', () => {
    for (const [pattern] of umociDiffers)
      assert.ok(
        hostileCases.some(({ name }) => pattern.test(name)),
        String(pattern),
      );
  });
});
