import type { Digest } from '../../oci/digest.js';

/** `present`: it was there. `mounted`: another repository of the destination had it. */
export type BlobOutcome = 'present' | 'mounted' | 'sent';

/** What a copy tells while it runs. */
export type CopyEvent =
  | { readonly kind: 'blob-start'; readonly digest: Digest; readonly size: number }
  | { readonly kind: 'blob-bytes'; readonly digest: Digest; readonly bytes: number }
  | {
      readonly kind: 'blob-end';
      readonly digest: Digest;
      readonly size: number;
      readonly outcome: BlobOutcome;
    }
  | { readonly kind: 'manifest'; readonly digest: Digest; readonly mediaType: string };
