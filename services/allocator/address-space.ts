/** Pure: no clock, no I/O, no randomness. */
import { type Address, addressText, contains, lastOf, type Subnet } from "./subnet.ts";

/**
 * Addresses of one subnet. Next fit: the search goes on behind the address given last, so that one just freed rests
 * while its former connections die, until all others were used.
 */
export class AddressSpace {
  readonly subnet: Subnet;
  readonly #range: Subnet;
  readonly #used = new Set<bigint>();
  readonly #isBarred: (address: bigint) => boolean;
  #next: bigint;

  /**
   * `range` bounds what `take` gives; `reserved` (gateway, …) is never given. Neither are the network's own address and
   * the last one (broadcast), nor those that `isBarred` when they are asked for.
   */
  constructor(
    subnet: Subnet,
    range: Subnet,
    reserved: readonly Address[],
    isBarred: (address: bigint) => boolean = () => false,
  ) {
    this.subnet = subnet;
    this.#range = range;
    this.#isBarred = isBarred;
    this.#next = range.first;
    for (const address of [subnet.first, lastOf(subnet)]) this.#used.add(address);
    for (const address of reserved) if (contains(subnet, address)) this.#used.add(address.value);
  }

  /** An address with the subnet's prefix length; undefined when all are in use. */
  take(): string | undefined {
    const { first } = this.#range;
    const last = lastOf(this.#range);
    for (let tried = first; tried <= last; tried++) {
      const address = this.#next;
      this.#next = address === last ? first : address + 1n;
      if (this.#used.has(address) || this.#isBarred(address)) continue;
      this.#used.add(address);
      return this.#text(address);
    }
    return undefined;
  }

  /** This very address, when it is free and in the subnet; undefined otherwise. */
  takeExactly(address: Address): string | undefined {
    const { value } = address;
    if (!contains(this.subnet, address) || this.#used.has(value) || this.#isBarred(value)) return undefined;
    this.#used.add(address.value);
    return this.#text(address.value);
  }

  /** Marks an address as used that somebody has already. Returns false when it was marked before. */
  claim(address: Address): boolean {
    const { value } = address;
    if (this.#used.has(value)) return false;
    this.#used.add(value);
    if (contains(this.#range, address) && value >= this.#next && value < lastOf(this.#range)) this.#next = value + 1n;
    return true;
  }

  free(address: Address): void {
    this.#used.delete(address.value);
  }

  #text(address: bigint): string {
    return `${addressText(this.subnet.bits, address)}/${this.subnet.prefix}`;
  }
}
