/** The tuned constants of the registry client, each with its reason, and the options that change them. */

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

export interface RegistryOptions {
  /** Limit for one attempt until the response headers are there, in milliseconds. */
  readonly responseTimeoutMs: number;
  /** Limit for a whole call until its headers: authentication, redirects, retries and waiting for a slot. */
  readonly callTimeoutMs: number;
  /** Limit for the request that commits an upload, in milliseconds. */
  readonly commitTimeoutMs: number;
  /** Limit for making a connection, where the endpoint names none, in milliseconds. */
  readonly connectTimeoutMs: number;
  /** A body (in either direction) that brings less than `minBytesPerSecond` over this time is given up. */
  readonly stallWindowMs: number;
  readonly minBytesPerSecond: number;
  /** Attempts after the first one. */
  readonly retries: number;
  readonly backoffBaseMs: number;
  readonly backoffCapMs: number;
  /** Requests under way to one host. */
  readonly concurrency: number;
  /** How many of them may be prefetches. */
  readonly prefetchConcurrency: number;
  /** Bytes of one PATCH, and the largest blob that is sent in a single PUT. */
  readonly chunkBytes: number;
  /**
   * Hosts (`name` or `name:port`) which this registry may send us to whatever their address is, and which may see
   * its credentials as token servers.
   */
  readonly trustedHosts: readonly string[];
  readonly userAgent: string;
}

/** What holds unless options say otherwise. */
export const defaultRegistryOptions: RegistryOptions = {
  // Go clients wait for ever, undici 300 s; a file-system call must fail while its user still waits.
  responseTimeoutMs: 30_000,
  // Three attempts that time out in full, or four that wait a `Retry-After` of some seconds.
  callTimeoutMs: 90_000,
  // A registry on object storage copies the blob when it is committed: 10 GB at 40 MB/s.
  commitTimeoutMs: 300_000,
  connectTimeoutMs: 10_000,
  // 60 KiB in 15 s is below any link on which images can be used (GPRS brings 5 KB/s), and ends a drip of a few
  // bytes per second, which undici's bodyTimeout never does: it starts anew with every chunk.
  stallWindowMs: 15_000,
  minBytesPerSecond: 4 * kibibyte,
  retries: 3,
  // 0.25, 0.5, 1 s, each times 0.5 to 1: a restarting front end is back before a user notices.
  backoffBaseMs: 250,
  backoffCapMs: 8_000,
  // Browsers open six HTTP/1.1 connections to a host, which servers are built for; Docker, containerd and regclient
  // fetch three layers at a time, so prefetching takes three and always leaves three to the reader who waits.
  concurrency: 6,
  prefetchConcurrency: 3,
  // 8 MiB is 67 ms of a 1 Gbit/s uplink, thrice a 20 ms round trip, and twice that (one being sent, one being
  // filled) keeps three parallel uploads under 50 MB. ECR wants at least 5 MiB and at most 20 MB.
  chunkBytes: 8 * mebibyte,
  trustedHosts: [],
  userAgent: 'imgfs/0.1',
};

/** Caps on what a server may send. Beyond them the answer is refused with `protocol` or `too-large`. */
export const caps = {
  /** Response headers: twice Node's own limit; signed URLs reach 4 KiB. */
  headerBytes: 32 * kibibyte,
  /** Body of an error answer, as in go-containerregistry. */
  errorBytes: 64 * kibibyte,
  /** Body of a token answer, as in containers/image since CVE-2020-1702. */
  tokenBytes: mebibyte,
  /** Manifest read by tag: regclient's pull limit; distribution-spec asks for 4 MiB at least. */
  manifestBytes: 8 * mebibyte,
  /** One page of referrers: parsed at once, 4 MiB take some 30 ms. */
  referrersBytes: 4 * mebibyte,
  /** One page of names: docker-registry 2.8 ignores `n`, and 1,000,000 tags of up to 128 bytes come in one. */
  pageBytes: 256 * mebibyte,
  /** Pages of one listing: 1,000,000 tags in pages of 100. */
  pages: 10_000,
  /** Names of one listing. */
  names: 5_000_000,
  /** Registry to front end to storage is three; registry.k8s.io adds one. */
  redirects: 5,
  /** A registry's wish for larger chunks is followed up to here; each upload holds two of them. */
  chunkBytes: 64 * mebibyte,
} as const;
