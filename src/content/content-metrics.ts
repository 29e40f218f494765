/** Counters of the cache, for `.imgfs/metrics`. */
import { counter } from '../observe/metrics.js';

export const fetchedBytes = counter(
  'imgfs_content_fetched_bytes_total',
  'Bytes of blobs received from stores.',
);
export const receivedBytes = counter(
  'imgfs_content_received_bytes_total',
  'Those of them that went from a connection into the cache file without JavaScript.',
);
export const cachedBytes = counter(
  'imgfs_content_cached_bytes_total',
  'Bytes of reads served from the cache.',
);
export const readThroughBytes = counter(
  'imgfs_content_read_through_bytes_total',
  'Bytes of blobs that passed through memory because the cache could not keep them.',
);
export const fetchRequests = counter('imgfs_content_requests_total', 'Requests for blobs sent to stores.');
export const fetchResumes = counter('imgfs_content_resumes_total', 'Transfers that broke and went on.');
export const evictions = counter('imgfs_content_evictions_total', 'Cache entries removed to keep the bound.');
export const evictedBytes = counter('imgfs_content_evicted_bytes_total', 'Bytes of removed cache entries.');
export const verified = counter('imgfs_content_verified_total', 'Blobs that matched their digest.');
export const verificationFailures = counter(
  'imgfs_content_verification_failures_total',
  'Blobs that did not match their digest or size.',
);
