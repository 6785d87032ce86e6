/** Pure: no clock, no I/O, no randomness. */
import type { Network } from "./gen/messages.js";

/** Asked for by `--opt encrypted`: what its tasks send one another is encrypted between nodes. */
export function isEncryptedNetwork(network: Pick<Network, "spec" | "driverState">): boolean {
  const options = { ...network.spec.driverConfig?.options, ...network.driverState?.options };
  return "encrypted" in options && options["encrypted"] !== "false";
}
