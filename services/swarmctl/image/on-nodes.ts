import { Control, ListNodesRequest, type Node, NodeStatus_State } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import type { FlagDefinition } from "../command.ts";
import type { Context } from "../context.ts";
import { hostnameOf } from "../node/ls.ts";
import { resolveNodeOrSelf } from "../node/self.ts";

export const nodeFlag: FlagDefinition = {
  flags: "--node <node>",
  help: "Only on this node (repeatable; self is this host)",
  list: true,
};

export interface NodeFlags {
  readonly node?: readonly string[];
}

/** What came of a call to a node. */
export type Outcome<T> =
  | { readonly node: Node; readonly value: T }
  | { readonly node: Node; readonly error: SwarmError };

/** The nodes named, else all of the cluster; in the order of their names. */
export async function chosenNodes({ client }: Context, { node: references = [] }: NodeFlags): Promise<readonly Node[]> {
  if (references.length > 0) return Promise.all(references.map((reference) => resolveNodeOrSelf(client, reference)));
  const { nodes } = await client.call(Control.methods.listNodes, ListNodesRequest.create());
  return nodes.toSorted((a, b) => nodeName(a).localeCompare(nodeName(b), "en", { numeric: true }));
}

/** Does `ask` for all nodes at once. One that is down is not asked. */
export function onNodes<T>(nodes: readonly Node[], ask: (node: Node) => Promise<T>): Promise<readonly Outcome<T>[]> {
  return Promise.all(
    nodes.map(async (node) => {
      try {
        if (node.status.state === NodeStatus_State.DOWN) throw new SwarmError("Unavailable", "the node is down");
        return { node, value: await ask(node) };
      } catch (thrown) {
        return { node, error: SwarmError.from(thrown) };
      }
    }),
  );
}

export function valuesOf<T>(outcomes: readonly Outcome<T>[]): readonly { readonly node: Node; readonly value: T }[] {
  return outcomes.flatMap((outcome) => ("value" in outcome ? [outcome] : []));
}

export function failuresOf<T>(
  outcomes: readonly Outcome<T>[],
): readonly { readonly node: Node; readonly error: SwarmError }[] {
  return outcomes.flatMap((outcome) => ("error" in outcome ? [outcome] : []));
}

/** Nodes that could not be asked are told of; when none could, or one that was named, it is an error. */
export function tellFailures<T>({ err }: Context, outcomes: readonly Outcome<T>[], { node = [] }: NodeFlags): void {
  const failures = failuresOf(outcomes);
  if (failures.length === 0) return;
  if (node.length > 0 || failures.length === outcomes.length) throw together(failures);
  for (const { node: failed, error } of failures) err(`Warning: node ${nodeName(failed)}: ${error.message}\n`);
}

/** One error for those of several nodes. */
export function together(failures: readonly { readonly node: Node; readonly error: SwarmError }[]): SwarmError {
  const text = failures.map(({ node, error }) => `node ${nodeName(node)}: ${error.message}`).join("; ");
  return new SwarmError(failures[0]!.error.code, text, { cause: failures[0]!.error });
}

export function nodeName(node: Node): string {
  return hostnameOf(node) || node.id;
}
