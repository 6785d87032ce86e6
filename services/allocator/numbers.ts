/** Pure: no clock, no I/O, no randomness. */

/** Numbers of one range, each with an owner: VXLAN ids, ports. Next fit, as addresses are. */
export class NumberSpace {
  readonly #first: number;
  readonly #last: number;
  readonly #owners = new Map<number, string>();
  #next: number;

  constructor(first: number, last: number) {
    this.#first = first;
    this.#last = last;
    this.#next = first;
  }

  /** A free number of the range; undefined when all are in use. */
  take(owner: string): number | undefined {
    for (let tried = this.#first; tried <= this.#last; tried++) {
      const number = this.#next;
      this.#next = number === this.#last ? this.#first : number + 1;
      if (this.#owners.has(number)) continue;
      this.#owners.set(number, owner);
      return number;
    }
    return undefined;
  }

  /** This very number, in the range or not, when nobody else has it. */
  takeExactly(number: number, owner: string): boolean {
    const known = this.#owners.get(number);
    if (known !== undefined && known !== owner) return false;
    this.#owners.set(number, owner);
    if (number >= this.#next && number < this.#last) this.#next = number + 1;
    return true;
  }

  ownerOf(number: number): string | undefined {
    return this.#owners.get(number);
  }

  /** Frees the number if it is `owner`'s. */
  free(number: number, owner: string): void {
    if (this.#owners.get(number) === owner) this.#owners.delete(number);
  }
}

/** VXLAN ids as Swarm gives them: below 4096 they could be mistaken for VLANs. */
export const firstVni = 4096;
export const lastVni = 2 ** 24 - 1;
/** Ports for services that name none. */
export const firstDynamicPort = 30_000;
export const lastDynamicPort = 32_767;
