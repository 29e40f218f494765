import assert from 'node:assert/strict';
import { promises as fs, closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ExtentJournal, readJournal, replayJournal } from '../../../src/content/extent-journal.js';
import { Extents } from '../../../src/content/extents.js';
import { digestOf } from '../../../src/oci/digest.js';
import { tempDir } from '../../support/temp.js';

const key = { digest: digestOf(Buffer.from('x')), size: 1000 };

async function journalText(
  folder: string,
  synced: boolean,
): Promise<{ text: string; mtimeMs: number; data: string }> {
  const data = join(folder, 'data');
  await fs.writeFile(data, Buffer.alloc(1000));
  const path = join(folder, 'ranges');
  const journal = await ExtentJournal.create(path, key, new Extents());
  journal.note(0, 100);
  await journal.flush();
  const fd = openSync(data, 'r');
  if (synced) await journal.markSynced(fd);
  closeSync(fd);
  await journal.close();
  return { text: await fs.readFile(path, 'utf8'), mtimeMs: (await fs.stat(path)).mtimeMs, data };
}

test('a journal gives back what was noted, and takes more', async (t) => {
  const folder = await tempDir(t, 'journal');
  const { data } = await journalText(folder, false);
  const path = join(folder, 'ranges');
  const first = await readJournal(path, key, await fs.stat(data));
  assert.deepEqual(first.ranges(), [{ start: 0, end: 100 }]);
  const again = await ExtentJournal.create(path, key, first);
  again.note(100, 200);
  again.note(900, 1000);
  await again.close();
  const unflushed = await readJournal(path, key, await fs.stat(data));
  assert.deepEqual(unflushed.ranges(), [{ start: 0, end: 100 }], 'what was not flushed is not there');
});

test('a journal of another blob, size or version says nothing', async (t) => {
  const folder = await tempDir(t, 'journal');
  const { text, mtimeMs, data } = await journalText(folder, false);
  const stat = await fs.stat(data);
  const count = (changed: string, of = key): number => replayJournal(changed, of, stat, mtimeMs).bytes;
  assert.equal(count(text), 100);
  assert.equal(count(text, { ...key, digest: digestOf(Buffer.from('y')) }), 0);
  assert.equal(count(text, { ...key, size: 999 }), 0);
  assert.equal(count(text.replace('"version":1', '"version":2')), 0);
  assert.equal(count('garbage'), 0);
  assert.equal(count(''), 0);
  assert.equal(replayJournal(text, key, { size: 999, mtimeMs: stat.mtimeMs }, mtimeMs).bytes, 0);
});

test('torn and altered records end the journal', async (t) => {
  const folder = await tempDir(t, 'journal');
  const { text, mtimeMs, data } = await journalText(folder, false);
  const stat = await fs.stat(data);
  for (let cut = text.indexOf('\n') + 1; cut < text.length - 1; cut += 1) {
    assert.equal(replayJournal(text.slice(0, cut), key, stat, mtimeMs).bytes, 0, `cut at ${cut}`);
  }
  assert.equal(replayJournal(text.replace('+ 0 100', '+ 0 101'), key, stat, mtimeMs).bytes, 0);
  assert.equal(replayJournal(`${text}+ 200 300 deadbeef\n`, key, stat, mtimeMs).bytes, 100);
});

test('after a reboot only what was synced counts', async (t) => {
  const folder = await tempDir(t, 'journal');
  const reboot = (text: string): string => text.replace(/"boot":"\w+"/u, '"boot":"another0"');
  const loose = await journalText(folder, false);
  const stat = await fs.stat(loose.data);
  assert.equal(replayJournal(reboot(loose.text), key, stat, loose.mtimeMs).bytes, 0);
  const synced = await journalText(folder, true);
  const syncedStat = await fs.stat(synced.data);
  assert.equal(replayJournal(reboot(synced.text), key, syncedStat, synced.mtimeMs).bytes, 100);
});

test('a data file that somebody else wrote to is worth nothing', async (t) => {
  const folder = await tempDir(t, 'journal');
  const synced = await journalText(folder, true);
  const stat = await fs.stat(synced.data);
  assert.equal(replayJournal(synced.text, key, stat, synced.mtimeMs).bytes, 100);
  const touched = { size: 1000, mtimeMs: stat.mtimeMs + 1 };
  assert.equal(replayJournal(synced.text, key, touched, synced.mtimeMs).bytes, 0);
  const loose = await journalText(folder, false);
  const late = { size: 1000, mtimeMs: loose.mtimeMs + 60_000 };
  assert.equal(replayJournal(loose.text, key, late, loose.mtimeMs).bytes, 0);
});

test('a closed journal writes nothing: its descriptor may be another file', async (t) => {
  const folder = await tempDir(t, 'journal');
  const journal = await ExtentJournal.create(join(folder, 'ranges'), key, new Extents());
  await journal.close();
  // The lowest free number: the journal's.
  const innocent = join(folder, 'innocent');
  const fds = Array.from({ length: 8 }, () => openSync(innocent, 'w'));
  journal.note(0, 100);
  await journal.flush();
  for (const fd of fds) closeSync(fd);
  assert.equal((await fs.stat(innocent)).size, 0);
});
