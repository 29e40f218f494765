/** A process that pushes through the tree until it is killed, and says what close and fsync have acknowledged. */
import { constants } from 'node:fs';
import { digestOf } from '../../src/oci/digest.js';
import { imageFiles, pushMount } from './push-fixture.js';
import { sampleImage } from './image-builder.js';
import { createPrng } from './prng.js';

export interface PushPlan {
  readonly host: string;
  readonly url: string;
  readonly directory: string;
  readonly seed: number;
}

/** Printed as one line of JSON each, after the fact. */
export type Acknowledged =
  | { readonly kind: 'ready' }
  /** A close of an upload. */
  | { readonly kind: 'blob'; readonly digest: string }
  /** An fsync of a session's data, from a known seed: `size` bytes are on disk. */
  | { readonly kind: 'session'; readonly name: string; readonly seed: number; readonly size: number }
  /** A close of a manifest before its layers. */
  | { readonly kind: 'manifest'; readonly tag: string; readonly digest: string }
  /** The close of the last file of an image. */
  | { readonly kind: 'image'; readonly tag: string; readonly digest: string };

export const pushChildProgram = new URL(import.meta.url).pathname;

async function push(plan: PushPlan): Promise<void> {
  const say = (what: Acknowledged): void => void process.stdout.write(`${JSON.stringify(what)}\n`);
  const random = createPrng(plan.seed);
  const mount = pushMount(plan, plan.directory, { client: { chunkBytes: 512 * 1024 } });
  const { fileSystem, tree } = mount;
  const base = `${plan.host}/app`;
  await mount.mkdir(base);
  say({ kind: 'ready' });
  for (let round = 0; ; round += 1) {
    const name = `${plan.seed}-${round}`;
    const what = random.integer(3);
    if (what === 0) {
      const bytes = random.bytes(1 + random.integer(2_000_000));
      await mount.cp(bytes, `${base}/@uploads/${name}`);
      say({ kind: 'blob', digest: digestOf(bytes) });
    } else if (what === 1) {
      const seed = random.integer(1_000_000);
      const content = createPrng(seed).bytes(600_000);
      await mount.mkdir(`${base}/@uploads/s${name}`);
      const inode = await tree.inode(`${base}/@uploads/s${name}/data`);
      const { handle } = await fileSystem.open(tree.caller, inode, constants.O_WRONLY | constants.O_APPEND);
      for (let at = 0; at < content.length; at += 200_000) {
        await fileSystem.write(tree.caller, handle, content.subarray(at, at + 200_000), at);
        await fileSystem.fsync(tree.caller, handle);
        say({ kind: 'session', name: `s${name}`, seed, size: at + 200_000 });
      }
      await fileSystem.release(handle);
    } else {
      const image = await sampleImage({ seed: 1 + random.integer(1_000_000), payloadBytes: 600_000 });
      const tag = `t${name}`;
      const { digest } = image.descriptor;
      await mount.mkdir(`${base}/${tag}`);
      await mount.mkdir(`${base}/${tag}/layers`);
      for (const [file, bytes] of imageFiles(image)) {
        await mount.cp(bytes, `${base}/${tag}/${file}`);
        if (file === 'manifest.json') say({ kind: 'manifest', tag, digest });
      }
      say({ kind: 'image', tag, digest });
    }
  }
}

if (process.argv[1] === pushChildProgram) await push(JSON.parse(process.argv[2] ?? '{}') as PushPlan);
