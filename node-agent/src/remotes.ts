import type { WeightedPeer } from "@starling/api";
import type { Random } from "@starling/base";

/** Swarm's remotes: what an observation adds, and how far a weight goes. */
const observation = 10;
const weightMax = 256;

/**
 * The managers that a node may turn to, chosen at random by weight: one that answered weighs more, one that failed less.
 * Never empty once it was not: managers' own lists replace it, but an empty list is not believed.
 */
export class Remotes {
  readonly #random: Random;
  /** By address. */
  #weights = new Map<string, number>();

  constructor(addresses: readonly string[], random: Random) {
    this.#random = random;
    for (const address of addresses) this.#weights.set(address, observation);
  }

  get addresses(): readonly string[] {
    return [...this.#weights.keys()];
  }

  /** Takes the managers' own list; weights of those that stay are kept. */
  replace(managers: readonly WeightedPeer[]): void {
    const listed = managers.flatMap(({ peer, weight }) => (peer?.addr ? [[peer.addr, weight] as const] : []));
    if (listed.length === 0) return;
    this.#weights = new Map(listed.map(([addr, weight]) => [addr, this.#weights.get(addr) ?? weight]));
  }

  answered(address: string): void {
    this.#observe(address, observation);
  }

  failed(address: string): void {
    this.#observe(address, -observation);
  }

  /** A manager's address, not one of `avoid` as long as there is another; undefined when none is known. */
  select(avoid: ReadonlySet<string> = new Set()): string | undefined {
    const others = [...this.#weights].filter(([address]) => !avoid.has(address));
    const candidates = others.length > 0 ? others : [...this.#weights];
    const total = candidates.reduce((sum, [, weight]) => sum + Math.max(1, weight), 0);
    let at = this.#random() * total;
    for (const [address, weight] of candidates) {
      at -= Math.max(1, weight);
      if (at < 0) return address;
    }
    return candidates.at(-1)?.[0];
  }

  #observe(address: string, weight: number): void {
    const before = this.#weights.get(address);
    if (before === undefined) return;
    this.#weights.set(address, Math.min(weightMax, Math.max(-weightMax, before + weight)));
  }
}
