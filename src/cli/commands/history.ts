/** `imgfs history`: the steps that made an image, with the sizes of their layers; nothing is pulled. */
import { imageHistory } from '../../image/history.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { formatBytes, formatTable } from '../output.js';
import { withImage } from '../runtime.js';
import { storeOptions } from '../settings.js';

/** Words of a step on a line; `--no-trunc` shows all. */
const shownWords = 60;

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  await withImage(String(args['reference']), args, context, async (image) => {
    const { manifest } = await image.chosen({ signal });
    const layers = manifest.kind === 'image' ? manifest.layers : manifest.blobs;
    const steps = imageHistory(await image.config({ signal }), layers);
    if (out.json) {
      for (const step of steps) out.document(step);
      return;
    }
    const whole = args['trunc'] === false || args['no-trunc'] === true;
    // docker history shows the newest first.
    const rows = steps.toReversed().map(({ created, createdBy, comment, layer }) => {
      const words = (createdBy ?? comment ?? '').replace(/\s+/g, ' ');
      return [
        layer === undefined ? '' : String(layer.index),
        created?.slice(0, 19) ?? '',
        layer === undefined ? '0 B' : formatBytes(layer.size),
        whole ? words : words.slice(0, shownWords),
        ...(whole && layer !== undefined ? [layer.digest] : []),
      ];
    });
    for (const line of formatTable([['LAYER', 'CREATED', 'SIZE', 'CREATED BY'], ...rows], new Set([0, 2])))
      out.line(line.trimEnd());
  });
}

export const historyCommand: Command = {
  usage: 'history <reference>',
  examples: [
    ['imgfs history alpine:3.20', 'newest step first, sizes as stored'],
    ['imgfs history --json alpine:3.20', 'oldest first, with both digests of each layer'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .option('no-trunc', { type: 'boolean', default: false, describe: 'whole commands, and digests' }),
  run,
};
