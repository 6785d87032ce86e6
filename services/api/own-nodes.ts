/** Pure: no clock, no I/O, no randomness. */
import { type NodeDescription, PluginDescription, type Task } from "./gen/messages.js";
import { isPredefinedNetwork } from "./predefined-network.ts";
import { runtimeOptionPrefix, runtimeOptionShapes } from "./runtime-options.ts";

/** By this entry in its description a node says that it runs swarmd; Docker's engines, which can join too, have none. */
export const ownNodePlugin: PluginDescription = PluginDescription.create({ type: "Node", name: "starling" });

/**
 * Whether the node is of another make: it tells what it has, and the entry is not there. Such a node takes no part in the
 * networks that managers tell nodes of, and knows nothing of the labels that say more than Swarm's spec.
 */
export function isForeignNode(description: NodeDescription | undefined): boolean {
  const plugins = description?.engine?.plugins ?? [];
  return (
    plugins.length > 0 && !plugins.some(({ type, name }) => type === ownNodePlugin.type && name === ownNodePlugin.name)
  );
}

const nodeOptions = runtimeOptionShapes
  .filter(({ manager }) => manager !== true)
  .map(({ name }) => runtimeOptionPrefix + name);

/** Whether a task asks for what only swarmd gives: an overlay network, or an option beyond Swarm's spec. */
export function needsOwnNode(task: Task): boolean {
  const labels = task.spec.container?.labels ?? {};
  return (
    task.networks.some(({ network }) => network !== undefined && !isPredefinedNetwork(network)) ||
    nodeOptions.some((label) => (labels[label] ?? "") !== "")
  );
}
