/** The completions in the shells they are for: a reference is completed from a store. */
import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { mustRun, skipWithout } from '../support/child.js';
import { sampleImage } from '../support/image-builder.js';
import { writeLayout } from '../support/layout-writer.js';
import { tempDir } from '../support/temp.js';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const limits = { timeout: 60_000 };

/** A layout with two tags, and a way to run a script in a shell that finds `imgfs`. */
async function scene(t: TestContext) {
  const directory = await tempDir(t, 'completion');
  const image = await sampleImage({ payloadBytes: 100 });
  await writeLayout(join(directory, 'layout'), [
    { image, name: 'v1' },
    { image, name: 'v2' },
  ]);
  await mkdir(join(directory, 'bin'));
  const command = join(directory, 'bin/imgfs');
  await writeFile(command, `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
  await chmod(command, 0o755);
  const env = {
    PATH: `${join(directory, 'bin')}:${process.env['PATH'] ?? ''}`,
    HOME: directory,
    IMGFS_CACHE_DIR: join(directory, 'cache'),
  };
  const shell = async (name: string, ...words: string[]): Promise<string> =>
    (await mustRun(name, words, { env, timeoutMs: 50_000 })).stdout;
  return { reference: `oci:${directory}/layout:`, shell };
}

test(
  'bash completes verbs, options, actions and references',
  { ...limits, skip: skipWithout('bash') },
  async (t) => {
    const { reference, shell } = await scene(t);
    const script = `
    source <(imgfs completion bash)
    try() {
      COMP_LINE=$1 COMP_POINT=\${#1} COMP_WORDS=($1)
      [[ $1 == *" " ]] && COMP_WORDS+=("")
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)) COMPREPLY=()
      _imgfs
      echo "\${COMPREPLY[*]}"
    }
    try 'imgfs insp'; try 'imgfs inspect --plat'; try 'imgfs manifest pu'; try 'imgfs inspect ${reference}'`;
    assert.deepEqual((await shell('bash', '--norc', '-c', script)).trim().split('\n'), [
      'inspect',
      '--platform',
      'put',
      'v1 v2',
    ]);
  },
);

test(
  'fish completes verbs, options, actions and references',
  { ...limits, skip: skipWithout('fish') },
  async (t) => {
    const { reference, shell } = await scene(t);
    const lines = ['imgfs insp', 'imgfs inspect --plat', 'imgfs manifest pu', `imgfs inspect ${reference}`];
    const asks = lines.map((line) => `complete -C '${line}'`).join('; ');
    const said = await shell('fish', '-c', `imgfs completion fish | source; ${asks}`);
    for (const word of ['inspect', '--platform', 'put', `${reference}v1`, `${reference}v2`])
      assert.ok(
        said.split('\n').some((line) => line.split('\t')[0] === word),
        `${word} in ${said}`,
      );
  },
);

test('zsh takes the script, and completes references', { ...limits, skip: skipWithout('zsh') }, async (t) => {
  const { reference, shell } = await scene(t);
  // What compadd is given, without a terminal.
  const script = `
    compdef() { }; _files() { }; compadd() { print -r -- "\${(@)argv:#-*}" }
    source <(imgfs completion zsh)
    PREFIX='${reference}' _imgfs_reference
    _describe() { print -r -- \${(P)2} }; CURRENT=2; words=(imgfs ''); _imgfs
    _arguments() { print -r -- "$@" }; CURRENT=3; words=(imgfs manifest ''); _imgfs`;
  const said = await shell('zsh', '-f', '-c', script);
  assert.ok(said.includes(`${reference}v1 ${reference}v2`), said);
  assert.match(said, /inspect:show what/);
  assert.match(said, /1:action:\(.*put.*\).*--accept|--accept.*1:action:\(.*put.*\)/);
});
