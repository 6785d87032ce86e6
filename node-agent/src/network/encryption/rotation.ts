/** Pure: no clock, no I/O, no randomness. */
import type { NetworkKey } from "@starling/api";
import type { Millis } from "@starling/base";
import type { Slot } from "./addresses.ts";
import { isAlive, type TunnelState } from "./plan-tunnel.ts";
import type { TunnelPeer } from "./tunnels.ts";

/** A key of this node and the device that has it. */
export interface OwnKey extends NetworkKey {
  readonly slot: Slot;
  readonly device: string;
  readonly privateKey: string;
  /** When it was made, by the host's clock. */
  readonly since: Millis;
}

/** How long the key is to be used still. A clock that was set back makes no key last longer than one of now. */
export const restOfKey = (since: Millis, options: { readonly now: Millis; readonly rotateAfterMs: Millis }): Millis =>
  Math.max(0, Math.min(options.rotateAfterMs, since + options.rotateAfterMs - options.now));

/** Whether the next device has a session with every node that the present one has one with. Nodes that are away don't count. */
export function haveMet(options: {
  readonly before: TunnelState;
  readonly next: TunnelState;
  readonly desired: ReadonlyMap<string, TunnelPeer>;
  readonly nowSeconds: number;
}): boolean {
  const { before, next, desired, nowSeconds } = options;
  return [...desired.keys()].every(
    (key) => !isAlive(before.peers.get(key), nowSeconds) || isAlive(next.peers.get(key), nowSeconds),
  );
}

/** In the order in which the managers tell them: others send by the first. Those that were never told come last. */
export function orderKeys(keys: readonly OwnKey[], told: readonly NetworkKey[]): readonly OwnKey[] {
  const place = ({ publicKey }: OwnKey) => {
    const found = told.findIndex((key) => key.publicKey === publicKey);
    return found < 0 ? told.length : found;
  };
  return [...keys].sort((a, b) => place(a) - place(b));
}
