/** Counts what is under way, for those who have to wait until nothing is. */
export class Activity {
  #count = 0;
  readonly #onQuiet: (() => void)[] = [];

  begin(): void {
    this.#count += 1;
  }

  end(): void {
    this.#count -= 1;
    if (this.#count > 0) return;
    for (const resolve of this.#onQuiet.splice(0)) resolve();
  }

  /** Resolves when nothing is under way. */
  async quiet(): Promise<void> {
    while (this.#count > 0) await new Promise<void>((resolve) => this.#onQuiet.push(resolve));
  }
}
