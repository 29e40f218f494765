/** What a handler answers, before faults are applied to it. */
import { bytesContent, type BlobContent } from './content.js';

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** The bytes of this answer (of the range, when it is one). HEAD sends its length only. */
  readonly body: BlobContent;
  /** Whole object and offset of `body` in it, when the answer is part of a blob: faults shift ranges with it. */
  readonly whole?: { readonly content: BlobContent; readonly start: number };
  /** `Content-Length` to announce instead of the true one. */
  readonly announcedLength?: number;
}

export type Headers = Record<string, string | readonly string[]>;

const nothing = bytesContent(new Uint8Array(0));
const versionHeader = { 'Docker-Distribution-API-Version': 'registry/2.0' };

export function emptyReply(status: number, headers: Headers = {}): Reply {
  return { status, headers: { ...versionHeader, ...headers }, body: nothing };
}

export function bytesReply(status: number, bytes: Uint8Array, headers: Headers = {}): Reply {
  return { status, headers: { ...versionHeader, ...headers }, body: bytesContent(bytes) };
}

export function jsonReply(status: number, value: unknown, headers: Headers = {}): Reply {
  return bytesReply(status, Buffer.from(`${JSON.stringify(value)}\n`), {
    'Content-Type': 'application/json; charset=utf-8',
    ...headers,
  });
}

/** Error codes of distribution-spec, "Error Codes", plus distribution's own for uploads. */
export type SpecErrorCode =
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'BLOB_UPLOAD_UNKNOWN'
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'PAGINATION_NUMBER_INVALID'
  | 'SIZE_INVALID'
  | 'TAG_INVALID'
  | 'TOOMANYREQUESTS'
  | 'UNAUTHORIZED'
  | 'UNKNOWN'
  | 'UNSUPPORTED';

/** `{"errors":[{"code","message","detail"}]}` (distribution-spec, "Error Codes"). */
export function errorReply(
  status: number,
  code: SpecErrorCode,
  message: string,
  headers: Headers = {},
  detail?: unknown,
): Reply {
  const error = { code, message, ...(detail === undefined ? {} : { detail }) };
  return jsonReply(status, { errors: [error] }, headers);
}
