import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { DiskCache } from '../../../src/content/disk.js';
import { LayerStore } from '../../../src/layer/layer-store.js';
import { layerAddon } from '../../../src/layer/native/layer-addon.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import { defaultPresentation } from '../../../src/vfs/inside/presentation.js';
import { OpenTrees } from '../../../src/vfs/inside/open-trees.js';
import { TreeRootDirectory } from '../../../src/vfs/inside/root-directory.js';
import { TreeView } from '../../../src/vfs/inside/tree-view.js';
import { defaultLifetimes } from '../../../src/vfs/lifetimes.js';
import { nameFromText } from '../../../src/vfs/name.js';
import { isDirectoryNode, isFileNode, type FileNode, type Found } from '../../../src/vfs/node.js';
import { packings, sampleFiles, sampleTar } from '../../support/sample-layer.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { tempDir } from '../../support/temp.js';

const options = { timeout: 30_000, skip: layerAddon() === undefined && 'needs the addon' };
const files = sampleFiles(5);
const blob = packings.gzip(sampleTar(files));
const seen = files.find(({ content }) => content.length > 1000 && content.length < 20_000);
const last = files.at(-1);

interface Ground {
  readonly root: TreeRootDirectory;
  /** Let the rest of the blob arrive. */
  readonly release: () => void;
}

/** A layer of which two thirds have arrived. */
async function ground(t: TestContext, deferred: boolean, fault?: { flipAt: number }): Promise<Ground> {
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const store = new ScriptedStore({
    chunkBytes: 64 * 1024,
    pace: async (request) => {
      if (request.start + request.sent > blob.length * 0.66) await gate;
    },
  });
  if (fault !== undefined) store.fault = () => fault;
  const added = store.add(blob);
  const source = { ...added, descriptor: { ...added.descriptor, mediaType: mediaTypes.ociLayerGzip } };
  const content = await DiskCache.open({ directory: join(await tempDir(t, 'streaming'), 'cache') });
  const trees = new OpenTrees(new LayerStore({ cache: content, deferred }));
  t.after(async () => {
    release();
    await trees.close();
    await content.close();
  });
  const parts = { trees, content, presentation: defaultPresentation, lifetimes: defaultLifetimes };
  const view = new TreeView(parts, { key: 'alone', sources: [source], alone: true });
  return { root: new TreeRootDirectory(view, 0n), release };
}

async function lookup({ root }: Ground, path: string): Promise<Found> {
  let answer: Found = { node: root, entryTtlMs: 0 };
  for (const part of path.split('/')) {
    assert.ok(answer.node !== undefined && isDirectoryNode(answer.node));
    answer = await answer.node.lookup(nameFromText(part), {});
  }
  return answer;
}

async function file(made: Ground, path: string): Promise<FileNode> {
  const { node } = await lookup(made, path);
  assert.ok(node !== undefined && isFileNode(node));
  return node;
}

async function read(node: FileNode, length: number): Promise<Buffer> {
  const open = await node.open({});
  try {
    const into = Buffer.alloc(length);
    assert.equal(await open.read(into, 0, {}), length);
    return into;
  } finally {
    await open.close();
  }
}

async function verified(node: FileNode): Promise<unknown> {
  return (await node.xattrs?.({}))?.get('user.imgfs.verified')?.({});
}

const soon = (): Promise<string> => new Promise((resolve) => void setTimeout(resolve, 100, 'waits'));

test(
  'R22 deferred: names and bytes that have arrived are there, what has not arrived waits',
  options,
  async (t) => {
    assert.ok(seen !== undefined && last !== undefined);
    const made = await ground(t, true);
    const early = await lookup(made, seen.path);
    assert.ok(early.entryTtlMs <= 1000, 'a later entry may replace it');
    const node = await file(made, seen.path);
    assert.equal((await node.stat({})).size, seen.content.length);
    assert.ok((await read(node, seen.content.length)).equals(seen.content));
    assert.equal(await verified(node), 'no');
    const waiting = [file(made, last.path), lookup(made, 'missing')] as const;
    assert.equal(await Promise.race([...waiting, soon()]), 'waits');
    made.release();
    assert.equal((await waiting[1]).node, undefined);
    const late = await waiting[0];
    assert.ok((await read(late, last.content.length)).equals(last.content));
    assert.equal(await verified(late), 'yes');
  },
);

test(
  'R22 deferred: a layer whose digest does not match in the end is an error, also of files that were found',
  options,
  async (t) => {
    assert.ok(seen !== undefined && last !== undefined);
    const made = await ground(t, true, { flipAt: blob.length - 4 });
    const node = await file(made, seen.path);
    const open = await node.open({});
    assert.equal(await open.read(Buffer.alloc(1000), 0, {}), 1000);
    assert.equal(open.backing, undefined, 'nobody reads by himself what may be wrong');
    assert.equal(open.keepCache, false);
    made.release();
    await assert.rejects(lookup(made, 'missing'));
    await assert.rejects(async () => open.read(Buffer.alloc(1000), 0, {}));
    await open.close();
  },
);

test('R22 by default nothing is shown before the digest has matched', options, async (t) => {
  assert.ok(seen !== undefined);
  const made = await ground(t, false);
  const found = file(made, seen.path);
  assert.equal(await Promise.race([found, soon()]), 'waits');
  made.release();
  assert.equal(await verified(await found), 'yes');
});
