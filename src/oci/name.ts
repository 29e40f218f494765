/** File names as bytes: a string in which each char code is one byte (latin1). */
export type Name = string & { readonly __brand: 'Name' };

/** Linux NAME_MAX: bytes in one path component. */
export const maxNameBytes = 255;

/** Name from ordinary text: its UTF-8 bytes. */
export function nameFromText(text: string): Name {
  // oxlint-disable-next-line no-control-regex -- the ASCII range, where both encodings agree
  return (/^[\u0000-\u007f]*$/.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')) as Name;
}

/** A name out of its bytes. */
export function nameFromBytes(bytes: Uint8Array): Name {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1') as Name;
}

/** The bytes of a name. */
export function nameToBytes(name: Name): Buffer {
  return Buffer.from(name, 'latin1');
}

/** Ordinary text of a name; bytes that are not UTF-8 become U+FFFD. For messages, never for lookups. */
export function nameToText(name: Name): string {
  return nameToBytes(name).toString('utf8');
}
