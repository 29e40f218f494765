/** Completion scripts, as shells run them. */
import assert from 'node:assert/strict';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { hasCommand, mustRun, run } from '../support/child.js';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

describe('completion', { timeout: 180_000 }, () => {
  let directory: string;
  let imgfs: ImgfsCommand;
  let registry: FaultRegistry;

  before(async () => {
    directory = await makeTempDir('completion');
    imgfs = imgfsIn(directory);
    registry = await startFaultRegistry();
    registry.addImage('group/app', await sampleImage({ payloadBytes: 100 }), 'v1');
    await mkdir(join(directory, 'bin'));
    await symlink(main, join(directory, 'bin/imgfs'));
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { stdout, code, stderr } = await imgfs(['completion', shell]);
      assert.equal(code, 0, stderr);
      await writeFile(join(directory, `completion.${shell}`), stdout);
    }
  });

  after(async () => {
    await registry.close();
    await removeTempDir(directory);
  });

  /** What bash offers for a line with the cursor at its end. */
  const offered = async (line: string): Promise<string[]> => {
    const program = `source '${join(directory, 'completion.bash')}'
COMP_LINE=$1 COMP_POINT=\${#1}
read -ra COMP_WORDS <<<"$1"; [[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
_imgfs; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const env = {
      ...process.env,
      ...imgfs.environment,
      PATH: `${join(directory, 'bin')}:${process.env['PATH'] ?? ''}`,
    };
    const { stdout } = await mustRun('bash', ['-c', program, 'bash', line], { env });
    return stdout.split('\n').filter(Boolean);
  };

  test('bash completes verbs, actions, options', async () => {
    assert.deepEqual(await offered('imgfs hist'), ['history']);
    assert.ok((await offered('imgfs cache ')).includes('check'));
    assert.deepEqual(await offered('imgfs export x --for'), ['--format']);
  });

  test('bash completes references of a registry, behind the colon too', async () => {
    const full = `${registry.host}/group/app`;
    // bash has split the line at the colon of the port, and wants what comes behind the last one.
    assert.deepEqual(await offered(`imgfs ls ${registry.host}/gr`), [full.slice(full.lastIndexOf(':') + 1)]);
    assert.deepEqual(await offered(`imgfs ls ${full}:`), ['v1']);
  });

  test('what the cache remembers is completed without the registry', async () => {
    const resolved = await imgfs(['resolve', `${registry.host}/group/app:v1`]);
    assert.equal(resolved.code, 0, resolved.stderr);
    const { stdout } = await imgfs(['completion', 'words', `${registry.host}/group/app:`, '--offline']);
    assert.equal(stdout, `${registry.host}/group/app:v1\n`);
  });

  test('the scripts are right for their shells', async () => {
    for (const [shell, words] of [
      ['bash', ['-n']],
      ['zsh', ['-n']],
      ['fish', ['--no-execute']],
    ] as const) {
      if (!hasCommand(shell)) continue;
      const { code, stderr } = await run(shell, [...words, join(directory, `completion.${shell}`)]);
      assert.equal(code, 0, `${shell}: ${stderr}`);
    }
  });
});
