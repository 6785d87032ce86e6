/** Pure: no clock, no I/O, no randomness. */
import { addressText, contains, lastOf, type Subnet } from "./subnet.ts";

/**
 * Addresses of one subnet. Next fit: the search goes on behind the address given last, so that one just freed rests
 * while its former connections die, until all others were used.
 */
export class AddressSpace {
  readonly subnet: Subnet;
  readonly #range: Subnet;
  readonly #used = new Set<number>();
  #next: number;

  /** `range` bounds what `take` gives; `reserved` (gateway, …) is never given. Network and broadcast addresses neither. */
  constructor(subnet: Subnet, range: Subnet, reserved: readonly number[]) {
    this.subnet = subnet;
    this.#range = range;
    this.#next = range.first;
    for (const address of [subnet.first, lastOf(subnet), ...reserved]) this.#used.add(address);
  }

  /** An address with the subnet's prefix length; undefined when all are in use. */
  take(): string | undefined {
    const { first } = this.#range;
    const last = lastOf(this.#range);
    for (let tried = first; tried <= last; tried++) {
      const address = this.#next;
      this.#next = address === last ? first : address + 1;
      if (this.#used.has(address)) continue;
      this.#used.add(address);
      return this.#text(address);
    }
    return undefined;
  }

  /** This very address, when it is free and in the subnet; undefined otherwise. */
  takeExactly(address: number): string | undefined {
    if (!contains(this.subnet, address) || this.#used.has(address)) return undefined;
    this.#used.add(address);
    return this.#text(address);
  }

  /** Marks an address as used that somebody has already. Returns false when it was marked before. */
  claim(address: number): boolean {
    if (this.#used.has(address)) return false;
    this.#used.add(address);
    if (contains(this.#range, address) && address >= this.#next && address < lastOf(this.#range))
      this.#next = address + 1;
    return true;
  }

  free(address: number): void {
    this.#used.delete(address);
  }

  #text(address: number): string {
    return `${addressText(address)}/${this.subnet.prefix}`;
  }
}
