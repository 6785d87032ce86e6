/** Pure: no clock, no I/O, no randomness. */
import { NetworkStateService_Balance as Balance } from "./gen/messages.js";

/**
 * Service label: which of the service's tasks a new connection goes to, by its virtual IPs and its ports. "random" (default): any,
 * all alike; "source": the same one for the same client address, as long as it serves.
 */
export const balanceLabel = "io.starling.balance";

const values: ReadonlyMap<string, Balance> = new Map([
  ["random", Balance.RANDOM],
  ["source", Balance.SOURCE],
]);

export const balanceNames: readonly string[] = [...values.keys()];

/** What the label says; random when it says nothing that is known (validation refuses it). */
export const balanceOf = (serviceLabels: Readonly<Record<string, string>>): Balance =>
  values.get(serviceLabels[balanceLabel] ?? "random") ?? Balance.RANDOM;
