/**
 * Typed access to the fields of a parsed document. `null` counts as absent, as for Go's decoder, which wrote most of
 * what we read. Every function throws ImgfsError `invalid-content`, naming the field.
 */
import { ImgfsError } from '../errors/imgfs-error.js';

export type JsonObject = Readonly<Record<string, unknown>>;

/** What to do about a document that its digest vouches for and that makes no sense. */
export const malformedHint = 'whoever made the image must make it anew: its bytes are as they were pushed';

/** Refuse a document because of one field. */
export function refuseField(where: string, why: string): never {
  throw new ImgfsError('invalid-content', `${where}: ${why}`, { hint: malformedHint });
}

/** The value as an object that is not an array. */
export function asObject(value: unknown, where: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  return refuseField(where, 'not an object');
}

/** The own field `key`; undefined when absent or null. `__proto__` and `constructor` are keys like any other. */
export function field(object: JsonObject, key: string): unknown {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  return value === null ? undefined : value;
}

export function optionalObject(object: JsonObject, key: string, where: string): JsonObject | undefined {
  const value = field(object, key);
  return value === undefined ? undefined : asObject(value, `${where}.${key}`);
}

export function optionalString(object: JsonObject, key: string, where: string): string | undefined {
  const value = field(object, key);
  if (value === undefined || typeof value === 'string') return value;
  return refuseField(`${where}.${key}`, 'not a string');
}

export function optionalBoolean(object: JsonObject, key: string, where: string): boolean | undefined {
  const value = field(object, key);
  if (value === undefined || typeof value === 'boolean') return value;
  return refuseField(`${where}.${key}`, 'not a boolean');
}

export function requiredString(object: JsonObject, key: string, where: string): string {
  const value = optionalString(object, key, where);
  return value === undefined || value === '' ? refuseField(`${where}.${key}`, 'missing') : value;
}

export function optionalArray(
  object: JsonObject,
  key: string,
  where: string,
): readonly unknown[] | undefined {
  const value = field(object, key);
  if (value === undefined) return undefined;
  return Array.isArray(value) ? (value as unknown[]) : refuseField(`${where}.${key}`, 'not a list');
}

export function optionalStrings(
  object: JsonObject,
  key: string,
  where: string,
): readonly string[] | undefined {
  return optionalArray(object, key, where)?.map((value, index) =>
    typeof value === 'string' ? value : refuseField(`${where}.${key}[${index}]`, 'not a string'),
  );
}

/** A map from string to string, such as annotations and labels. */
export function optionalStringMap(
  object: JsonObject,
  key: string,
  where: string,
): Readonly<Record<string, string>> | undefined {
  const map = optionalObject(object, key, where);
  if (map === undefined) return undefined;
  // fromEntries defines own properties, so a key `__proto__` stays data.
  return Object.fromEntries(
    Object.entries(map).map(([name, value]) => [
      name,
      typeof value === 'string'
        ? value
        : refuseField(`${where}.${key}[${JSON.stringify(name)}]`, 'not a string'),
    ]),
  );
}

/** A number of bytes: a safe integer, not negative. */
export function requiredSize(object: JsonObject, key: string, where: string): number {
  const value = field(object, key);
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  return refuseField(`${where}.${key}`, value === undefined ? 'missing' : 'not a size in bytes');
}

/**
 * Refuse keys that differ from a known one only in case: Go's decoder takes `Layers` for `layers`, ours does not, and
 * a document that says one thing to each of us is an attack.
 */
export function refuseCaseVariants(object: JsonObject, known: readonly string[], where: string): void {
  for (const key of Object.keys(object)) {
    if (known.includes(key)) continue;
    const lower = key.toLowerCase();
    const meant = known.find((name) => name.toLowerCase() === lower);
    if (meant !== undefined) refuseField(where, `the key ${JSON.stringify(key)} can be taken for ${meant}`);
  }
}
