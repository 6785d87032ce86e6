import { type Node, NodeRole } from "@starling/api";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";

const retryMs = 5_000;

/** What of the Raft group the role manager needs. */
export interface RoleGroup {
  selfRaftId(): bigint;
  members(): readonly { readonly raftId: bigint; readonly nodeId: string }[];
  canRemoveMember(raftId: bigint): boolean;
  removeMember(raftId: bigint): Promise<void>;
  transferLeadership(): Promise<void>;
}

/**
 * A leader's loop: gives nodes the role that their spec asks for. A promotion is a change of the node object; its
 * certificate follows. A demotion leaves the Raft group first, and only while that keeps a quorum; a leader hands over
 * first, and its successor goes on.
 */
export function createRoleManager(options: {
  readonly store: MemoryStore;
  readonly group: RoleGroup;
  readonly clock: Clock;
  readonly log: Logger;
}): { run(signal: AbortSignal): Promise<void> } {
  const { store, group, clock } = options;
  const log = options.log.with({ station: "role-manager" });
  /** Nodes that a timer will look at again. */
  const retrying = new Set<string>();
  return {
    async run(signal) {
      retrying.clear();
      const { value, events } = store.viewAndWatch((tx) => tx.nodes.find(all), { kinds: ["node"], signal });
      for (const node of value) await settle(node.id, signal);
      for await (const event of events) {
        if (event.kind === "node" && event.action !== "remove") await settle(event.object.id, signal);
      }
    },
  };

  /** Tries until the node has its role or the wish is gone; each try looks at the newest state. */
  async function settle(nodeId: string, signal: AbortSignal): Promise<void> {
    const node = store.view((tx) => tx.nodes.get(nodeId));
    if (!node || node.spec.desiredRole === node.role) return;
    try {
      if (node.spec.desiredRole === NodeRole.WORKER) await leaveGroup(node);
      await setRole(node.id, node.spec.desiredRole);
      log.info("role changed", { "node.id": node.id, role: node.spec.desiredRole });
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (signal.aborted) return;
      log.warn("role not changed, trying again", { "node.id": node.id, error: error.message });
      if (retrying.has(nodeId)) return;
      retrying.add(nodeId);
      clock.setTimer(retryMs, () => {
        if (signal.aborted) return;
        retrying.delete(nodeId);
        void settle(nodeId, signal);
      });
    }
  }

  async function leaveGroup(node: Node): Promise<void> {
    const member = group.members().find((candidate) => candidate.nodeId === node.id);
    if (!member) return;
    if (!group.canRemoveMember(member.raftId)) {
      throw new SwarmError("FailedPrecondition", "removing this manager would cost the quorum");
    }
    if (member.raftId === group.selfRaftId()) {
      await group.transferLeadership();
      throw new SwarmError("Unavailable", "handed leadership over before the demotion");
    }
    await group.removeMember(member.raftId);
  }

  async function setRole(nodeId: string, role: NodeRole): Promise<void> {
    await store.update((tx) => {
      const node = tx.nodes.get(nodeId);
      if (node && node.spec.desiredRole === role && node.role !== role) tx.nodes.update({ ...node, role });
    });
  }
}
