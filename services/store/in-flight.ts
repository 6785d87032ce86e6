/** Pure: no clock, no I/O, no randomness. */
import type { StoreAction } from "@starling/api";
import { assert, SwarmError } from "@starling/base";
import type { ObjectEvent } from "./objects.ts";
import type { Root } from "./tables/root.ts";

/**
 * A proposed transaction.
 * - in flight: its fate is open; left by `committed`, `refuse` or `abandon`
 * - settled: committed, or its users were told that it failed. It may be committed nevertheless: then it is applied like
 *   an entry of others
 */
export interface Layer {
  readonly version: number;
  readonly changes: readonly ObjectEvent[];
  readonly actions: readonly StoreAction[];
  /** State after it, and after all before it. */
  readonly root: Root;
  readonly outcome: PromiseWithResolvers<void>;
  settled: boolean;
}

/**
 * Transactions in flight, oldest first.
 *
 * Invariant: each layer's root is its predecessor's plus its own changes; the oldest one's predecessor is what is
 * committed.
 */
export class InFlight {
  #layers: Layer[] = [];

  get size(): number {
    return this.#layers.length;
  }

  get newest(): Layer | undefined {
    return this.#layers.at(-1);
  }

  push(layer: Layer): void {
    layer.outcome.promise.catch(() => {}); // Its users await it; one that only a no-op update waits for may have none.
    this.#layers.push(layer);
  }

  /** `layer` stands in the log at `index`: it must be the oldest. Tell its users once it is visible: `settle`. */
  shift(layer: Layer, index: number): void {
    assert(this.#layers[0] === layer, () => `transaction ${layer.version} is committed out of order at ${index}`);
    assert(layer.version <= index, () => `version ${layer.version} is beyond its log index ${index}`);
    this.#layers.shift();
  }

  /** `layer` was not accepted: it fails with `cause`, those made on top of it are unknown. */
  refuse(layer: Layer, cause: SwarmError): void {
    const [refused, ...dependent] = this.#layers.splice(this.#layers.indexOf(layer));
    settle(refused!, cause);
    const reason = `outcome unknown: based on a transaction that failed (${cause.message})`;
    for (const each of dependent) settle(each, new SwarmError("Unavailable", reason, { cause }));
  }

  abandon(reason: SwarmError): void {
    const abandoned = this.#layers;
    this.#layers = [];
    for (const layer of abandoned) settle(layer, reason);
  }
}

/** Tells the layer's users what became of it. */
export function settle(layer: Layer, error?: SwarmError): void {
  layer.settled = true;
  if (error === undefined) layer.outcome.resolve();
  else layer.outcome.reject(error);
}
