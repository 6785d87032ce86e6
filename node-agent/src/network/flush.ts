/** Pure: no clock, no I/O, no randomness. */
import type { ConntrackStep } from "@starling/native/net";
import { addressesOf, isV6, type LocalTask, type NodeInputs } from "./desired.ts";
import { localPool } from "./names.ts";
import { ingressOf } from "./state.ts";

const tcp = 6;
const udp = 17;

/**
 * Has datagrams that the host sends on to tasks which don't serve any more go to others. (TCP goes on while its task
 * lives; the host's rules reset it after.)
 */
export function hostFlush(inputs: NodeInputs): readonly ConntrackStep[] {
  const { view, leaving, tasks, recovered } = inputs;
  const ingress = ingressOf(view);
  const live = recovered.map(({ address }) => address);
  for (const task of tasks) if (task.routed !== undefined && !leaving.has(task.taskId)) live.push(task.routed);
  for (const node of view.nodes.values()) if (node.meshAddress !== "") live.push(node.meshAddress.split("/")[0]!);
  for (const endpoint of view.endpoints.values()) {
    if (endpoint.networkId === ingress?.id && endpoint.serving && !leaving.has(endpoint.taskId))
      live.push(endpoint.address);
  }
  return [
    {
      type: "conntrack",
      subnets: [localPool, ...(ingress?.subnets ?? []).filter((subnet) => !isV6(subnet))],
      live,
      protocols: [udp],
    },
  ];
}

/** In the task's namespace: datagrams go to tasks that serve, TCP connections to tasks that are gone end. */
export function taskFlush(inputs: NodeInputs, task: LocalTask): readonly ConntrackStep[] {
  const { view, leaving } = inputs;
  const on = new Set(task.overlays.map((overlay) => overlay.networkId));
  const subnets = [...on].flatMap((id) => view.networks.get(id)?.subnets ?? []);
  if (subnets.length === 0) return [];
  const there: string[] = [];
  const serving: string[] = [];
  for (const endpoint of view.endpoints.values()) {
    if (!on.has(endpoint.networkId)) continue;
    there.push(...addressesOf(endpoint));
    if (endpoint.serving && !leaving.has(endpoint.taskId)) serving.push(...addressesOf(endpoint));
  }
  return [
    { type: "conntrack", subnets, live: serving, protocols: [udp] },
    { type: "conntrack", subnets, live: there, protocols: [tcp] },
  ];
}
