/** The file of one blob, and what the bookkeeping of the cache is told of it. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { BlobContext } from '../../../src/content/blob-context.js';
import { BlobFile } from '../../../src/content/blob-file.js';
import { CachePaths } from '../../../src/content/cache-paths.js';
import { digestOf } from '../../../src/oci/digest.js';
import { setLogLevels } from '../../../src/observe/log.js';
import { tempDir } from '../../support/temp.js';

setLogLevels('off');

const bytes = Buffer.from('the bytes of a blob');
const digest = digestOf(bytes);

/** A blob whose bytes are written, and what the context was told of its name. */
async function written(t: TestContext): Promise<{ file: BlobFile; told: string[]; blobPath: string }> {
  const paths = new CachePaths(await tempDir(t, 'blob-file'));
  const told: string[] = [];
  const ledger = { own: () => undefined, set: () => undefined, delete: () => undefined };
  const context = {
    paths,
    ledger: { reserve: async () => ({ release: () => undefined }) },
    partials: ledger,
    diskUsable: () => true,
    noteTrouble: () => undefined,
    blobNamed: () => told.push('named'),
    blobAdded: () => told.push('added'),
    blobGone: () => told.push('gone'),
  } as unknown as BlobContext;
  const file = await BlobFile.open(context, { digest, size: bytes.length });
  t.after(() => file.close(true));
  assert.ok(await file.write(0, bytes.length, [bytes]));
  return { file, told, blobPath: paths.blob(digest) };
}

test('a blob that gets its name is counted under it', async (t) => {
  const { file, told } = await written(t);
  await file.finalize();
  assert.deepEqual([told, file.named], [['named', 'added'], true]);
});

test('one that fails before it had the name forgets nothing that is counted there', async (t) => {
  const { file, told, blobPath } = await written(t);
  // A file in place of the folder.
  await mkdir(dirname(dirname(blobPath)), { recursive: true });
  await writeFile(dirname(blobPath), '');
  await file.finalize();
  assert.deepEqual([told, file.named], [[], false]);
});

test('one that cannot be renamed is not counted any more', async (t) => {
  const { file, told, blobPath } = await written(t);
  await mkdir(join(blobPath, 'in the way'), { recursive: true });
  await file.finalize();
  assert.deepEqual([told, file.named], [['named', 'gone'], false]);
});
