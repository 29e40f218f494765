/** How long the kernel may believe what. All in milliseconds. */
export interface Lifetimes {
  /** Content under a digest, and names in an image directory: these cannot change. */
  readonly immutableMs: number;
  /** Directories whose existence only leads on: registries, repositories, prefixes. */
  readonly namespaceMs: number;
  /** Where the registry would not say (401, 403): a login is noticed after this. */
  readonly hiddenMs: number;
  /** A true "not found". */
  readonly negativeMs: number;
}

export const defaultLifetimes: Lifetimes = {
  // The kernel asks again after a day: any number of hours will do, since nothing can have changed.
  immutableMs: 24 * 3_600_000,
  // As long as a positive answer about a repository is remembered (image/repository-probe.ts).
  namespaceMs: 600_000,
  hiddenMs: 30_000,
  negativeMs: 5_000,
};
