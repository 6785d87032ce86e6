/** Pure: no clock, no I/O, no randomness. */
import type { ObjectEvent } from "./objects.ts";

export interface Commit {
  readonly changes: readonly ObjectEvent[];
  readonly version: number;
}

/**
 * The last commits, for watchers who come back. Keeps as many as have `changesMax` changes together, and the newest in
 * any case.
 */
export class History {
  readonly #changesMax: number;
  /** `#commits[#head…]` are kept; what is before has been let go of. */
  #commits: (Commit | undefined)[] = [];
  #head = 0;
  #changes = 0;
  /** Everything after this version is kept; undefined: not known before the next commit. */
  #floor: number | undefined = 0;

  constructor(changesMax: number) {
    this.#changesMax = changesMax;
  }

  /** `version` is higher than that of every commit before. */
  add(commit: Commit): void {
    this.#floor ??= commit.version;
    this.#commits.push(commit);
    this.#changes += commit.changes.length;
    while (this.#changes > this.#changesMax && this.#head < this.#commits.length - 1) this.#dropOldest();
    if (this.#head > 1024 && this.#head * 2 > this.#commits.length) {
      this.#commits = this.#commits.slice(this.#head);
      this.#head = 0;
    }
  }

  /** The state was replaced, by one of a version that is not known exactly. */
  forget(): void {
    this.#commits = [];
    this.#head = 0;
    this.#changes = 0;
    this.#floor = undefined;
  }

  /** Every commit after `version`, oldest first; undefined when some of them are not kept any more. */
  after(version: number): readonly Commit[] | undefined {
    if (this.#floor === undefined || version < this.#floor) return undefined;
    const commits: Commit[] = [];
    for (let i = this.#commits.length - 1; i >= this.#head; i--) {
      const commit = this.#commits[i]!;
      if (commit.version <= version) break;
      commits.push(commit);
    }
    return commits.reverse();
  }

  #dropOldest(): void {
    const commit = this.#commits[this.#head]!;
    this.#commits[this.#head++] = undefined;
    this.#changes -= commit.changes.length;
    this.#floor = commit.version;
  }
}
