/** One request as the fault registry saw it: what handlers work on and what tests count. */

/** Which of the registry's servers was asked. */
export type ServerRole = 'registry' | 'storage' | 'token' | 'stranger';

/** Kept for every request, in order of arrival. The counters grow while the exchange goes on. */
export interface RequestRecord {
  readonly index: number;
  readonly role: ServerRole;
  readonly method: string;
  /** Path without query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Lower-case names; a repeated header is joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** Number of the TCP connection, from 1 for each server. */
  readonly connection: number;
  /** Milliseconds since the registry started. */
  readonly at: number;
  status: number;
  /** Bytes of body sent, as far as they were handed to the socket. */
  bytesSent: number;
  bytesReceived: number;
  /** Kind of the fault that was applied. */
  fault?: string;
}

/** What a handler gets. */
export interface RegistryRequest extends RequestRecord {
  /** `http://host:port` of the server that was asked. */
  readonly origin: string;
  /** The body, read once. Refuses more than `maxBytes` with `undefined`. */
  body(maxBytes: number): Promise<Uint8Array | undefined>;
  /** The body as it arrives; ends early when the client goes away. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** First value of a query parameter; undefined when it is missing. */
export function queryOf(request: RequestRecord, name: string): string | undefined {
  return request.query.get(name) ?? undefined;
}
