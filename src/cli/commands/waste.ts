/** `imgfs waste`: bytes of an image that no container sees, since higher layers replace or remove them. */
import { wastedBytes } from '../../layer/merge/wasted-bytes.js';
import { nameToText } from '../../oci/name.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withImageTrees } from '../image-trees.js';
import { formatBytes, formatTable } from '../output.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out } = context;
  await withImageTrees([String(args['image'])], args, context, async ([image]) => {
    if (image === undefined) return;
    const tables = image.layers.map((layer) => layer.table);
    const { layers, largest } = wastedBytes(image.merged, tables, Number(args['top']));
    const sum = (pick: (layer: (typeof layers)[number]) => number): number =>
      layers.reduce((total, layer) => total + pick(layer), 0);
    const bytes = sum((layer) => layer.bytes);
    const wasted = sum((layer) => layer.wastedBytes);
    if (out.json) {
      const files = largest.map((file) => ({ ...file, path: `/${nameToText(file.path)}` }));
      return out.document({ bytes, wastedBytes: wasted, layers, largest: files });
    }
    const rows = layers.map((layer, index) => [
      String(index),
      String(layer.files),
      formatBytes(layer.bytes),
      String(layer.wastedFiles),
      formatBytes(layer.wastedBytes),
    ]);
    const head = ['layer', 'files', 'bytes', 'wasted files', 'wasted'];
    for (const line of formatTable([head, ...rows], new Set([0, 1, 2, 3, 4]))) out.line(line);
    for (const { layer, path, bytes: size } of largest)
      out.line(`${formatBytes(size).padStart(10)}  layer ${layer}  /${nameToText(path)}`);
    const percent = bytes === 0 ? 0 : (100 * wasted) / bytes;
    out.line(`${formatBytes(wasted)} of ${formatBytes(bytes)} wasted (${percent.toFixed(1)} %)`);
  });
}

export const wasteCommand: Command = {
  usage: 'waste <image>',
  examples: [['imgfs waste ghcr.io/me/app:v1', 'by layer, and the largest files']],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('image', { type: 'string', demandOption: true, describe: 'image' })
      .option('top', { type: 'number', default: 20, describe: 'so many of the largest files' }),
  run,
};
