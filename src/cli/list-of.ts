/** What yargs gives for an option that may be repeated: nothing, one value, or a list of them. */
export function listOf(value: unknown): string[] {
  return value === undefined ? [] : (Array.isArray(value) ? value : [value]).map(String);
}
