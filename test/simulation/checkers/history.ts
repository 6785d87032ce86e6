import type { Fail } from "./index.ts";

/** A write under way: a transaction that read `prev` in register `key` and replaced it by the write's id. */
export interface Write {
  readonly id: string;
  readonly key: string;
  readonly prev: string;
  /** Position that the register's value must be behind: what was known to be written when the write began. */
  readonly after: number;
  acknowledged: boolean;
}

/** A read under way. */
export interface Read {
  readonly key: string;
  readonly after: number;
}

/**
 * Linearizability of registers. Every write reads before it writes, and writes a value of its own, so the committed
 * writes of a register form one chain that the values themselves tell. A history is linearizable if the chain agrees
 * with real time: who begins after another has ended comes behind it, reads included.
 */
export class HistoryChecker {
  readonly #fail: Fail;
  readonly #writes = new Map<string, Write>();
  /** Positions of values per register; the empty value is at 0. */
  readonly #chains = new Map<string, string[]>();
  readonly #positions = new Map<string, number>([["", 0]]);
  /** The furthest position that somebody was told of. */
  readonly #told = new Map<string, number>();
  reads = 0;
  acknowledged = 0;

  constructor(fail: Fail) {
    this.#fail = fail;
  }

  get writes(): number {
    return this.#writes.size;
  }

  writeBegins(id: string, key: string, prev: string): Write {
    const write: Write = { id, key, prev, after: this.#toldOf(key), acknowledged: false };
    this.#writes.set(id, write);
    return write;
  }

  writeEnds(write: Write, where: string): void {
    const position = this.#positions.get(write.id);
    if (position === undefined) {
      this.#fail(`write ${write.id} was acknowledged by ${where} before it was applied`);
      return;
    }
    if (position <= write.after) {
      this.#fail(`write ${write.id} is at ${position}, yet it began when ${write.after} was known`);
    }
    write.acknowledged = true;
    this.acknowledged++;
    this.#tell(write.key, position);
  }

  readBegins(key: string): Read {
    return { key, after: this.#toldOf(key) };
  }

  readEnds(read: Read, value: string, where: string): void {
    const position = this.#positions.get(value);
    if (position === undefined) this.#fail(`${where} read ${value} in ${read.key}, which was never committed`);
    else if (position < read.after) {
      const newer = this.#chain(read.key)[read.after];
      this.#fail(`stale read: ${where} read ${value || "nothing"} in ${read.key} after ${newer} was known`);
    } else this.#tell(read.key, position);
    this.reads++;
  }

  /** A register's value changed, as the first replica shows it. */
  applied(key: string, value: string): void {
    const chain = this.#chain(key);
    const last = chain.at(-1)!;
    if (value === last) return;
    const write = this.#writes.get(value);
    if (this.#positions.has(value)) this.#fail(`${value} was written to ${key} twice`);
    else if (write?.prev !== last)
      this.#fail(`write ${value} to ${key} saw ${write?.prev || "nothing"}, but follows ${last}`);
    this.#positions.set(value, chain.length);
    chain.push(value);
  }

  /** Is every acknowledged write there? `values` are the registers at the end. */
  finish(values: ReadonlyMap<string, string>): void {
    for (const [key, chain] of this.#chains) {
      if (chain.at(-1) !== (values.get(key) ?? ""))
        this.#fail(`${key} ends as ${values.get(key)}, not as ${chain.at(-1)}`);
    }
    for (const { id, acknowledged } of this.#writes.values()) {
      if (acknowledged && !this.#positions.has(id)) this.#fail(`acknowledged write ${id} is lost`);
    }
  }

  #chain(key: string): string[] {
    let chain = this.#chains.get(key);
    if (chain === undefined) {
      chain = [""];
      this.#chains.set(key, chain);
    }
    return chain;
  }

  #toldOf(key: string): number {
    return this.#told.get(key) ?? 0;
  }

  #tell(key: string, position: number): void {
    if (position > this.#toldOf(key)) this.#told.set(key, position);
  }
}
