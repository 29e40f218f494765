/**
 * Real images through a mount: `IMGFS_BENCH_IMAGE=/layout:tag npm run bench inside`. `IMGFS_BENCH_PARTS` chooses parts
 * (`pass indexed warm cold`, the default all); each part takes less than three minutes for an image of 320 MB.
 */
import { cold } from './inside/cold.js';
import { benchImage, withGround } from './inside/ground.js';
import { indexed } from './inside/indexed.js';
import { pass } from './inside/pass.js';
import { warm } from './inside/warm.js';
import type { Section } from './section.js';

const parts = { pass, indexed, warm, cold };

export const inside: Section = {
  title: 'Inside real images, 20 ms and 200 Mbit/s',
  async *run() {
    const image = benchImage();
    if (typeof image === 'string') {
      yield { what: 'nothing was measured', measured: image, figure: '' };
      return;
    }
    const wanted = (process.env['IMGFS_BENCH_PARTS'] ?? Object.keys(parts).join(' ')).split(' ');
    for (const [name, part] of Object.entries(parts)) if (wanted.includes(name)) yield* withGround(part);
  },
};
