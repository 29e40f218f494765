/** Lets so many pass in one turn of the event loop; the others follow in later ones, in order. */
export class TurnGate {
  readonly #most: number;
  #passed = 0;
  #nextTurn: Promise<void> | undefined;

  constructor(most: number) {
    this.#most = most;
  }

  async pass(): Promise<void> {
    while (this.#passed >= this.#most) await this.#turn();
    this.#passed += 1;
    void this.#turn();
  }

  /** Resolves when the next turn has begun. */
  #turn(): Promise<void> {
    this.#nextTurn ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#passed = 0;
        this.#nextTurn = undefined;
        resolve();
      });
    });
    return this.#nextTurn;
  }
}
