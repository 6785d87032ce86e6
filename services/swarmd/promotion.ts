/** Pure: no clock, no I/O, no randomness. */
import { type Node, NodeRole } from "@starling/api";

/** Whether this node may become a manager when its managers want it. */
export type Promotion =
  | { readonly t: "open" }
  /** It is not known yet whose managers they are. */
  | { readonly t: "unknown" }
  | { readonly t: "refused"; readonly why: string };

/**
 * Refused when managers of another make want a worker of ours to be one of them: it would have to keep their Raft log.
 * `foreign` is what is known of the managers so far.
 */
export function promotionOf(known: {
  readonly node: Node | undefined;
  readonly isManager: boolean;
  readonly foreign: boolean | undefined;
}): Promotion {
  const { node, isManager, foreign } = known;
  if (foreign === false || isManager || node?.role !== NodeRole.MANAGER) return { t: "open" };
  if (foreign === undefined) return { t: "unknown" };
  const why = `not promoted: the managers of this swarm run no swarmd, and swarmd can only be a worker of theirs. Its tasks go on; to have the managers see a worker again, remove the node (docker node rm --force ${node.id}) and join it anew`;
  return { t: "refused", why };
}
