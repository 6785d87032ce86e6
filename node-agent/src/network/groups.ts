/** Pure: no clock, no I/O, no randomness. */

/** Members by the key of their group, for small groups. */
export class Groups<T> {
  readonly #groups = new Map<string, readonly T[]>();

  of(key: string): readonly T[] {
    return this.#groups.get(key) ?? [];
  }

  add(key: string, member: T): void {
    const group = this.#groups.get(key);
    this.#groups.set(key, group === undefined ? [member] : [...group, member]);
  }

  remove(key: string, member: T): void {
    const rest = this.of(key).filter((other) => other !== member);
    if (rest.length === 0) this.#groups.delete(key);
    else this.#groups.set(key, rest);
  }
}
