/** Temporary directories that go away with the test. */
import { mkdtemp, rm } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

const alive = new Set<string>();
process.once('exit', () => {
  for (const path of alive) rmSync(path, { recursive: true, force: true });
});

/** A directory of its own; the caller removes it with {@link removeTempDir}, else the process does at its end. */
export async function makeTempDir(label = 'test'): Promise<string> {
  const path = await mkdtemp(join(process.env['IMGFS_TEST_TMP'] ?? tmpdir(), `imgfs-${label}-`));
  alive.add(path);
  return path;
}

export async function removeTempDir(path: string): Promise<void> {
  alive.delete(path);
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}

/** A directory of its own, removed when the test ends. */
export async function tempDir(t: Pick<TestContext, 'after'>, label = 'test'): Promise<string> {
  const path = await makeTempDir(label);
  t.after(() => removeTempDir(path));
  return path;
}
