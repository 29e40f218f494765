/** `GET /v2/`: whether there is a registry, what it can do, and whether it takes our credentials. */
import type { CallOptions } from '../store.js';
import type { RegistryClient } from './client.js';
import type { ResponseHeaders } from './http/headers.js';
import { discardBody } from './http/read-body.js';

/**
 * Headers of the answer (distribution-spec end-1). @throws ImgfsError what a status that is not expected stands for;
 * `unavailable`, `timeout`, `protocol`, `interrupted`.
 */
export async function askApiVersion(
  client: RegistryClient,
  expect: readonly number[],
  options: CallOptions,
): Promise<ResponseHeaders> {
  const reply = await client.send({
    ...options,
    operation: 'ask for the API version',
    method: 'GET',
    repository: undefined,
    path: '/',
    capability: 'resolve',
    access: 'none',
    expect,
  });
  await discardBody(reply.body);
  return reply.headers;
}
