/**
 * Preloaded into a daemon by the bench (`NODE_OPTIONS=--import …`): how long its event loop was held up, written to
 * `$IMGFS_LOOP_FILE.<pid>` as lines of JSON, one for each quarter of a second.
 */
import { appendFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const file = process.env['IMGFS_LOOP_FILE'];
/** The timer that the histogram is made of; its own length is in every value. */
const resolutionMs = 2;

if (file !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  setInterval(() => {
    const longestMs = Math.max(0, histogram.max / 1e6 - resolutionMs);
    appendFileSync(`${file}.${process.pid}`, `${JSON.stringify({ at: Date.now(), longestMs })}\n`);
    histogram.reset();
  }, 250).unref();
}
