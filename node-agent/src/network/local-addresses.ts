/** Pure: no clock, no I/O, no randomness. */
import { ipv4Number, localPool } from "./names.ts";

/** Hands out addresses of the pool that every node uses for tasks no other node needs to reach; next fit, so that one just freed rests. */
export class LocalAddresses {
  readonly #first: number;
  readonly #size: number;
  readonly #used = new Set<string>();
  #next = 1;

  constructor(pool: string = localPool) {
    const [address = "", length = ""] = pool.split("/");
    this.#first = ipv4Number(address);
    this.#size = 2 ** (32 - Number(length));
  }

  /** Undefined when all are in use. */
  take(): string | undefined {
    for (let tried = 0; tried < this.#size; tried++) {
      const offset = this.#next;
      this.#next = (this.#next + 1) % this.#size;
      const address = textOf(this.#first + offset);
      if (offset === 0 || offset === this.#size - 1 || this.#used.has(address)) continue;
      this.#used.add(address);
      return address;
    }
    return undefined;
  }

  /** Marks one as used that was handed out before a restart. */
  claim(address: string): void {
    this.#used.add(address);
    const offset = ipv4Number(address) - this.#first;
    if (offset >= this.#next && offset < this.#size) this.#next = (offset + 1) % this.#size;
  }

  free(address: string): void {
    this.#used.delete(address);
  }

  contains(address: string): boolean {
    const offset = ipv4Number(address) - this.#first;
    return offset >= 0 && offset < this.#size;
  }
}

function textOf(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join(".");
}
