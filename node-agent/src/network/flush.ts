/** Pure: no clock, no I/O, no randomness. */
import type { NetworkStateEndpoint } from "@starling/api";
import type { ConntrackStep } from "@starling/native/net";
import { isV6, type LocalTask, type NodeInputs } from "./desired.ts";
import { localPool, meshAddress6, meshPrefix6 } from "./names.ts";
import { addressesOf } from "./state.ts";

const tcp = 6;
const udp = 17;

/*
 * What is forgotten goes by what is wanted when a look begins, which may be more than tables have by then, as looks run behind
 * them. That is right: who serves again by now keeps its datagrams, and an address that another task has its connections; who
 * ceases to serve meanwhile falls due on its own, after its tables. What becomes wanted while a look runs may lose what it got
 * since: a datagram goes to another task then, a connection to a new task of the same address is reset; addresses are not given
 * again as fast as that.
 */

/**
 * Whose tracked connections are to be looked at: those of endpoints that stopped serving, or went, since it was done last;
 * or all, when that is not known.
 */
export type FlushDue = "all" | readonly NetworkStateEndpoint[];

/** Both. */
export const joinDue = (a: FlushDue, b: FlushDue): FlushDue => (a === "all" || b === "all" ? "all" : [...a, ...b]);

const step = (subnets: readonly string[], live: readonly string[], protocols: readonly number[]) =>
  subnets.length === 0 ? [] : [{ type: "conntrack", subnets, live, protocols } as const];

/** Addresses that published ports lead to, by an endpoint's one. */
const inMesh = (address: string): readonly string[] => (isV6(address) ? [] : [address, meshAddress6(address)]);

const alone = (address: string): string => `${address}/${isV6(address) ? 128 : 32}`;

/** Prefixes of those `due` on `networks` whose addresses none of `keep` has now. `of`: whose they are in conntrack, too. */
function gone(
  { view }: NodeInputs,
  due: readonly NetworkStateEndpoint[],
  networks: ReadonlySet<string>,
  keep: (endpoint: NetworkStateEndpoint) => boolean,
  of: (address: string) => readonly string[] = (address) => [address],
): readonly string[] {
  const stale = due
    .filter(({ networkId }) => networks.has(networkId))
    .flatMap(addressesOf)
    .filter((address) => ![...networks].some((id) => view.endpointsWith(id, address).some(keep)));
  return [...new Set(stale.flatMap(of))].map(alone);
}

/**
 * Has datagrams that the host sends on to tasks which don't serve any more go to others. (TCP goes on while its task
 * lives; the host's rules reset it after.)
 */
export function hostFlush(inputs: NodeInputs, due: FlushDue): readonly ConntrackStep[] {
  const { view, leaving, tasks, recovered } = inputs;
  const { ingress } = view;
  if (due !== "all") {
    const serves = ({ serving, taskId }: NetworkStateEndpoint) => serving && !leaving.has(taskId);
    return ingress === undefined ? [] : step(gone(inputs, due, new Set([ingress.id]), serves, inMesh), [], [udp]);
  }
  const live = recovered.map(({ address }) => address);
  for (const task of tasks) if (task.routed !== undefined && !leaving.has(task.taskId)) live.push(task.routed);
  for (const node of view.nodes.values()) if (node.meshAddress !== "") live.push(node.meshAddress.split("/")[0]!);
  for (const endpoint of view.endpointsOn(ingress?.id ?? "")) {
    if (endpoint.serving && !leaving.has(endpoint.taskId)) live.push(endpoint.address);
  }
  const subnets = (ingress?.subnets ?? []).filter((subnet) => !isV6(subnet));
  return step([localPool, ...subnets, meshPrefix6], [...live, ...live.map(meshAddress6)], [udp]);
}

/** In the task's namespace: datagrams go to tasks that serve, TCP connections to tasks that are gone end. */
export function taskFlush(inputs: NodeInputs, task: LocalTask, due: FlushDue): readonly ConntrackStep[] {
  const { view, leaving } = inputs;
  const on = new Set(task.overlays.map((overlay) => overlay.networkId));
  const serves = ({ serving, taskId }: NetworkStateEndpoint) => serving && !leaving.has(taskId);
  if (due !== "all") {
    const left = gone(inputs, due, on, () => true);
    const stopped = gone(inputs, due, on, serves).filter((address) => !left.includes(address));
    return [...step(stopped, [], [udp]), ...step(left, [], [])];
  }
  const subnets = [...on].flatMap((id) => view.networks.get(id)?.subnets ?? []);
  const there: string[] = [];
  const serving: string[] = [];
  for (const endpoint of [...on].flatMap((id) => [...view.endpointsOn(id)])) {
    there.push(...addressesOf(endpoint));
    if (serves(endpoint)) serving.push(...addressesOf(endpoint));
  }
  return [...step(subnets, serving, [udp]), ...step(subnets, there, [tcp])];
}
