/** The last events of the mount, for `.imgfs/events.ndjson`: mounted, store opened, log lines worth telling. */

/** About 200 bytes each: 100 KB when full. */
const maxEvents = 500;

export class EventLog {
  readonly #lines: string[] = [];

  /** Add a line of the log as it is: one JSON document. */
  add(line: string): void {
    if (this.#lines.push(line) > maxEvents) this.#lines.shift();
  }

  event(name: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.add(JSON.stringify({ time: new Date().toISOString(), event: name, ...fields }));
  }

  /** One JSON document a line, oldest first. */
  render(): string {
    return this.#lines.map((line) => `${line}\n`).join('');
  }
}
