/** A process that indexes one layer slowly and tells how far it is, to be killed: `{directory, blob}` as JSON. */
import { readFileSync } from 'node:fs';
import { DiskCache } from '../../src/content/disk.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { ScriptedStore } from './scripted-store.js';

const { directory, blob } = JSON.parse(process.argv[2] ?? '{}') as { directory: string; blob: string };
const store = new ScriptedStore({
  chunkBytes: 16 * 1024,
  pace: () => new Promise((resolve) => void setTimeout(resolve, 3)),
});
const layers = new LayerStore({ cache: await DiskCache.open({ directory }), commitBytes: 64 * 1024 });
const layer = await layers.openLayer(store.add(readFileSync(blob)));
while (layer.progress().state === 'indexing') {
  const { inBytes } = layer.progress();
  process.stdout.write(`${inBytes}\n`);
  await layer.whenChanged();
}
process.stdout.write('ready\n');
// Stay until killed: closing is not what is looked at.
setInterval(() => undefined, 1000);
