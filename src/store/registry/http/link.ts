/** `Link` headers (RFC 8288), of which registries use one: the next page. */

/** Target of the first link with `rel=next`; undefined when there is none. */
export function nextLink(values: readonly string[]): string | undefined {
  for (const value of values) {
    for (const match of value.matchAll(/<([^<>]{0,8192})>([^<]*)/g)) {
      if (/;\s*rel\s*=\s*"?(?:[^";,]*\s)?next(?:\s[^";,]*)?"?\s*(?:[;,]|$)/i.test(match[2] ?? ''))
        return match[1];
    }
  }
  return undefined;
}
