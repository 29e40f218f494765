/** Help, the manual page and completions come out of one table, and each verb is in all of them. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { completeReference } from '../../../src/cli/complete-reference.js';
import { groupTitles, renderHelp } from '../../../src/cli/help.js';
import { renderManPage } from '../../../src/cli/man-page.js';
import { wordsOf } from '../../../src/cli/option-words.js';
import { verbs } from '../../../src/cli/verbs.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import { digestOf } from '../../../src/oci/digest.js';
import { CountingStore } from '../../support/counting-store.js';
import { sampleImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';

test('--help has every verb once, in its group, and examples', () => {
  const help = renderHelp();
  for (const { name, summary } of verbs)
    assert.ok(help.includes(`  ${name} `) && help.includes(summary), name);
  const order = Object.values(groupTitles).map((title) => help.indexOf(`\n${title}:\n`));
  assert.ok(order.every((at, index) => at > (order[index - 1] ?? 0)));
  assert.match(help, /Examples:\n {2}imgfs mount/);
});

test('every verb has an example, and every option a description', async () => {
  for (const verb of verbs) {
    const command = await verb.load();
    assert.ok((command.examples ?? []).length > 0, `${verb.name} has no example`);
    for (const [example] of command.examples ?? []) assert.match(example, /imgfs/, verb.name);
    assert.ok(command.usage.startsWith(verb.name), verb.name);
    const options = wordsOf(command).options;
    for (const { name, describe } of options) assert.ok(describe.length > 3, `${verb.name} --${name}`);
    const known = new Set(['json', 'help', ...options.map(({ name }) => name)]);
    for (const [example] of command.examples ?? [])
      for (const [, option = ''] of example.matchAll(/ --([a-z-]+)/g))
        assert.ok(known.has(option), `${example}: ${verb.name} has no --${option}`);
  }
});

test('help of a verb says what it is for, by either way of asking', { timeout: 60_000 }, () => {
  const main = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
  const shown = (...words: string[]): string =>
    execFileSync(process.execPath, [main, ...words], { encoding: 'utf8' });
  for (const name of ['cp', 'verify', 'blob']) {
    const help = shown(name, '--help');
    const { summary = '' } = verbs.find((verb) => verb.name === name) ?? {};
    assert.ok(help.startsWith(`imgfs ${name} <`) && help.includes(`\n${summary}.\n`), help.slice(0, 300));
    assert.equal(shown('help', name), help);
  }
  assert.equal(shown('help'), `${renderHelp()}\n`);
});

test(
  'the manual page has every verb and option, and troff finds nothing wrong',
  { timeout: 30_000 },
  async () => {
    const page = await renderManPage('1.2.3');
    for (const verb of verbs) {
      const command = await verb.load();
      assert.ok(page.includes(`imgfs ${command.usage.replaceAll('-', '\\-')}\n`), verb.name);
      for (const { name } of wordsOf(command).options)
        assert.ok(page.includes(`\\-\\-${name.replaceAll('-', '\\-')}`), `${verb.name} --${name}`);
    }
    if (spawnSync('groff', ['--version']).status !== 0) return;
    const troff = spawnSync('groff', ['-man', '-ww', '-Tutf8', '-z'], { input: page, encoding: 'utf8' });
    assert.deepEqual([troff.stderr, troff.status], ['', 0]);
    const shown = execFileSync('groff', ['-man', '-Tascii', '-P-cbou'], { input: page, encoding: 'utf8' });
    assert.match(shown, /EXIT STATUS/);
  },
);

async function sources() {
  const store = new CountingStore();
  const image = await sampleImage({ payloadBytes: 100 });
  store.add('group/app', image, 'v1', 'v2');
  store.add('group/tool', image, 'latest');
  const content = createMemoryContent();
  const opened: string[] = [];
  return {
    store,
    content,
    opened,
    sources: {
      content,
      registry: async (host: string) => {
        opened.push(host);
        return store;
      },
      local: async () => new CountingStore({ transport: 'oci', id: 'oci:./x' }),
    },
  };
}

test('references are completed from the registry', { timeout: 10_000 }, async () => {
  const { sources: from } = await sources();
  assert.deepEqual(await completeReference('registry.test/gr', from), [
    'registry.test/group/app',
    'registry.test/group/tool',
  ]);
  assert.deepEqual(await completeReference('docker://registry.test/group/app:', from), [
    'docker://registry.test/group/app:v1',
    'docker://registry.test/group/app:v2',
  ]);
  assert.deepEqual(await completeReference('registry.test/group/app:v2', from), []);
  assert.deepEqual(await completeReference('oc', from), ['oci-archive:', 'oci:']);
});

test(
  'references are completed from the cache, also when the registry fails or hangs',
  { timeout: 10_000 },
  async () => {
    const { sources: from, content, store } = await sources();
    const bytes = Buffer.from('{}');
    const descriptor = { mediaType: mediaTypes.ociManifest, digest: digestOf(bytes), size: 2 };
    await content.refs.set('docker://registry.test', 'known/app', 'kept', descriptor);
    store.before = () => {
      throw new Error('the registry is gone');
    };
    assert.deepEqual(await completeReference('registry.test/kn', from), ['registry.test/known/app']);
    assert.deepEqual(await completeReference('registry.test/known/app:', from), [
      'registry.test/known/app:kept',
    ]);
    assert.deepEqual(await completeReference('regi', from), ['registry.test/']);
    assert.deepEqual(await completeReference('registry.test/none', from), []);
    store.before = (_request, signal) =>
      new Promise((_resolve, reject) =>
        signal?.addEventListener('abort', () => reject(new Error('aborted'))),
      );
    const hasty = { ...from, patienceMs: 100 };
    // A registry that hangs holds a socket open; this one holds nothing.
    const socket = setInterval(() => undefined, 1_000);
    assert.deepEqual(await completeReference('registry.test/known/app:', hasty), [
      'registry.test/known/app:kept',
    ]);
    clearInterval(socket);
  },
);
