/**
 * The completions in the shells they are for, at a terminal, with a TAB: verbs, options, actions, and references of a
 * layout, of a registry, and of what the cache remembers while the registry is gone.
 */
import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { mustRun, skipWithout } from '../support/child.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn, imgfsMain } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { tempDir } from '../support/temp.js';

const limits = { timeout: 120_000 };

/** A layout, a registry and a cache that remembers a repository, and a shell that finds `imgfs`. */
async function makeScene(t: TestContext) {
  const directory = await tempDir(t, 'completion');
  const image = await sampleImage({ payloadBytes: 100 });
  await writeLayout(join(directory, 'layout'), [
    { image, name: 'v1' },
    { image, name: 'stable' },
  ]);
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  for (const tag of ['v1', 'nightly']) registry.addImage('group/app', image, tag);
  registry.addImage('kept/tool', image, 'v7');
  await mkdir(join(directory, 'bin'));
  const command = join(directory, 'bin/imgfs');
  await writeFile(command, `#!/bin/sh\nexec '${process.execPath}' '${imgfsMain}' "$@"\n`);
  await chmod(command, 0o755);
  const imgfs = imgfsIn(directory);
  const environment = {
    ...imgfs.environment,
    PATH: `${join(directory, 'bin')}:${process.env['PATH'] ?? ''}`,
    TERM: 'dumb',
    LC_ALL: 'C.UTF-8',
    XDG_DATA_HOME: directory,
  };
  const known = await imgfs(['resolve', `${registry.host}/kept/tool:v7`]);
  assert.equal(known.code, 0, known.stderr);
  return { directory, registry, environment };
}

/** A line up to the TAB, and what stands there behind it. */
type Typed = readonly (readonly [line: string, becomes: string])[];

function typedLines(host: string, directory: string): Typed {
  const layout = `oci:${directory}/layout`;
  return [
    ['imgfs insp', 'imgfs inspect'],
    ['imgfs inspect --platf', 'imgfs inspect --platform'],
    ['imgfs manifest pu', 'imgfs manifest put'],
    [`imgfs ls ${layout}:st`, `imgfs ls ${layout}:stable`],
    [`imgfs ls ${host}/gr`, `imgfs ls ${host}/group/app`],
    [`imgfs ls ${host}/group/app:ni`, `imgfs ls ${host}/group/app:nightly`],
  ];
}

/** While the registry is gone. */
const fromCache = (host: string): Typed => [
  [`imgfs ls ${host}/ke`, `imgfs ls ${host}/kept/tool`],
  [`imgfs ls ${host}/kept/tool:`, `imgfs ls ${host}/kept/tool:v7`],
];

/** Types at a terminal: each line, a TAB, and a key that prints the line as the shell has it then. */
const typist = `
import json, os, pty, re, select, sys, time
setup, lines = json.load(sys.stdin)
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
text = ''
def wait(pattern):
    global text
    until = time.time() + 30
    while not (found := re.search(pattern, text, re.S)):
        if time.time() > until or not select.select([terminal], [], [], 30)[0]: sys.exit('no ' + pattern + ' in ' + text)
        text += os.read(terminal, 65536).decode('utf8', 'replace')
    text = text[found.end():]
    return found.group(1)
os.write(terminal, (setup + '; echo rea""dy\\n').encode())
wait('(ready)\\r')
shown = []
for line in lines:
    os.write(terminal, line.encode() + b'\\t\\x18')
    shown.append(wait('<<(.*?)>>'))
    os.write(terminal, b'\\x15')
print(json.dumps(shown))
`;

async function checkTyped(
  shell: readonly string[],
  setup: string,
  environment: Readonly<Record<string, string | undefined>>,
  typed: Typed,
): Promise<void> {
  const { stdout } = await mustRun('python3', ['-c', typist, ...shell], {
    env: environment,
    input: JSON.stringify([setup, typed.map(([line]) => line)]),
    timeoutMs: 100_000,
  });
  const shown = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as string[];
  assert.deepEqual(
    shown.map((line) => line.trimEnd()),
    typed.map(([, becomes]) => becomes),
  );
}

const bashSetup =
  'show() { echo "<<$READLINE_LINE>>"; }; bind -x \'"\\C-x":show\'; source <(imgfs completion bash)';
const zshSetup =
  'show() { print -r -- "<<$BUFFER>>" }; zle -N show; bindkey "^X" show; bindkey "^U" kill-whole-line; ' +
  'autoload -Uz compinit; compinit -u -D; source <(imgfs completion zsh)';

for (const [name, shell, setup] of [
  ['bash', ['bash', '--norc', '--noprofile', '-i'], bashSetup],
  ['zsh', ['zsh', '-f', '-i'], zshSetup],
] as const) {
  const skip = skipWithout(name, 'python3');
  test(`${name} completes verbs, options, actions and references`, { ...limits, skip }, async (t) => {
    const { directory, registry, environment } = await makeScene(t);
    await checkTyped(shell, setup, environment, typedLines(registry.host, directory));
    await registry.suspend();
    await checkTyped(shell, setup, environment, fromCache(registry.host));
  });
}

test(
  'fish completes verbs, options, actions and references',
  { ...limits, skip: skipWithout('fish') },
  async (t) => {
    const { directory, registry, environment } = await makeScene(t);
    const check = async (typed: Typed): Promise<void> => {
      const asks = typed
        .map(([line]) => `complete -C '${line}' | string replace -r '\\t.*' ''; echo ==`)
        .join('; ');
      const { stdout } = await mustRun('fish', ['-c', `imgfs completion fish | source; ${asks}`], {
        env: environment,
        timeoutMs: 100_000,
      });
      const offered = stdout.split('==\n').map((each) => each.trim().split('\n'));
      for (const [at, [line, becomes]] of typed.entries())
        assert.ok(offered[at]?.includes(becomes.split(' ').at(-1) ?? ''), `${line}: ${offered[at]?.join()}`);
    };
    await check(typedLines(registry.host, directory));
    await registry.suspend();
    await check(fromCache(registry.host));
  },
);
