/** `Warning: 299` (distribution-spec "Warnings"): told once each, never acted upon. */
import { escapeControl } from '../../../errors/imgfs-error.js';
import { createLogger } from '../../../observe/log.js';
import { headerValues, type ResponseHeaders } from './headers.js';

const log = createLogger('store');

/** What one registry may say in a lifetime, and how long a warning may be. */
const maxWarnings = 100;
const maxLength = 400;

export class Warnings {
  readonly #told = new Set<string>();

  /** Log the warnings of an answer that were not logged before. */
  note(headers: ResponseHeaders, host: string): void {
    for (const value of headerValues(headers, 'warning')) {
      for (const match of value.matchAll(/299 - "((?:[^"\\]|\\.){1,4096})"/g)) {
        const text = escapeControl((match[1] ?? '').replace(/\\(.)/g, '$1').slice(0, maxLength));
        if (this.#told.has(text) || this.#told.size >= maxWarnings) continue;
        this.#told.add(text);
        log.warn('registry warning', { host, text });
      }
    }
  }
}
