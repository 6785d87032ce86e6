/** For tests: what is wanted of some inputs, all of it. */
import type { LocalTask, NodeInputs } from "./desired.ts";
import { DesiredState } from "./desired-state.ts";
import type { HostNetwork } from "./host-network.ts";
import { hostKinds, hostNetworkOf, ruleKinds } from "./ledger.ts";
import { hostTable } from "./nft-host.ts";
import type { NftTable } from "./nft-table.ts";
import type { Reachable } from "./nft-task.ts";

export function desiredOf(inputs: NodeInputs): DesiredState {
  const desired = new DesiredState(inputs);
  desired.setTunnels(inputs.tunnels, inputs.relay);
  desired.observed(inputs.underlayMtu, inputs.recovered);
  for (const task of inputs.tasks) desired.setTask(task);
  return desired;
}

export const wantedNetwork = (inputs: NodeInputs): HostNetwork =>
  hostNetworkOf(desiredOf(inputs).ledger.all(hostKinds));

export function wantedTable(inputs: NodeInputs): NftTable {
  const desired = desiredOf(inputs);
  return hostTable(desired.rulesOf(desired.ledger.all(ruleKinds)));
}

export const wantedReach = (inputs: NodeInputs, task: LocalTask): Reachable =>
  desiredOf(inputs).reachOf(task).reachable;
