/** What a copy does, as one line on the terminal and as a summary at its end. */
import type { CopyEvent, CopyResult } from '../image/copy/copy-image.js';
import type { Output } from './output.js';
import { formatBytes } from './output.js';
import { createProgress, type Progress } from './progress.js';

export interface CopyProgress extends Progress {
  readonly onEvent: (event: CopyEvent) => void;
}

/** Progress of the copy called `title`. */
export function copyProgress(title: string, out: Output): CopyProgress {
  const progress = createProgress(title, out);
  let known = 0;
  let done = 0;
  let ended = 0;
  let blobs = 0;
  return {
    ...progress,
    onEvent: (event) => {
      if (event.kind === 'blob-start') {
        known += event.size;
        blobs += 1;
      } else if (event.kind === 'blob-bytes') {
        done += event.bytes;
      } else if (event.kind === 'blob-end') {
        ended += 1;
        if (event.outcome !== 'sent') done += event.size;
      }
      progress.update(`${ended} of ${blobs} blobs, ${formatBytes(done)} of ${formatBytes(known)}`);
    },
  };
}

/** One line that says what a copy did. */
export function copySummary({ blobs, sentBytes, manifests }: CopyResult): string {
  return `${manifests} manifests; blobs: ${blobs.sent} sent (${formatBytes(sentBytes)}), ${blobs.mounted} mounted, ${blobs.present} already there`;
}
