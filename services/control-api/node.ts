import {
  type Cluster,
  type Control,
  defaultClusterName,
  GetNodeResponse,
  hasStopped,
  type ListNodesRequest_Filters,
  ListNodesResponse,
  ManagerStatus,
  type Node,
  NodeRole,
  type NodeSpec,
  NodeStatus_State,
  type RaftMember,
  RemoveNodeResponse,
  TaskState,
  TaskStatus,
  timestampOfMs,
  UpdateNodeResponse,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { required, validateNodeSpec } from "@starling/api/validation";
import { SwarmError } from "@starling/base";
import { all, byName, byNode, byRole, type ReadTx, type WriteTx } from "@starling/store";
import { blacklistNode } from "./blacklist.ts";
import type { ControlDeps, RaftView } from "./deps.ts";
import { found } from "./errors.ts";
import { hasLabels, isAmong, passesEach } from "./filters.ts";

type NodeMethods = "getNode" | "listNodes" | "updateNode" | "removeNode";

export function nodeHandlers({ store, clock, log, raft }: ControlDeps): Pick<Handlers<typeof Control>, NodeMethods> {
  const withStatus = (nodes: readonly Node[]): Node[] => {
    const members = new Map(raft?.members().map((member) => [member.nodeId, member]));
    return nodes.map((node) => ({ ...node, managerStatus: managerStatus(members.get(node.id)) }));
  };
  return {
    async getNode({ nodeId }) {
      required(nodeId, "node id");
      const node = found(await store.read((tx) => tx.nodes.get(nodeId)), "node", nodeId);
      return GetNodeResponse.create({ node: withStatus([node])[0] });
    },

    async listNodes({ filters }) {
      const nodes = await store.read((tx) => tx.nodes.find(all));
      return ListNodesResponse.create({ nodes: withStatus(nodes.filter((node) => passes(filters, node))) });
    },

    async updateNode(request) {
      const { nodeId } = request;
      required(nodeId, "node id");
      const version = required(request.nodeVersion, "node version");
      const spec = validateNodeSpec(request.spec);
      const updated = await store.update((tx) => {
        const node = found(tx.nodes.get(nodeId), "node", nodeId);
        checkDemotion(tx, node, spec, raft);
        const next: Node = { ...node, spec, meta: { ...node.meta, version } };
        return tx.nodes.update(next);
      });
      log.info("node updated", { "node.id": nodeId });
      return UpdateNodeResponse.create({ node: withStatus([updated])[0] });
    },

    /** Removes the node, bars its certificate and orphans its tasks, all at once. */
    async removeNode({ nodeId, force }) {
      required(nodeId, "node id");
      await store.update((tx) => {
        const node = found(tx.nodes.get(nodeId), "node", nodeId);
        checkRemoval(node, force, raft);
        tx.clusters.update(blacklistNode(clusterOf(tx), node, clock.now()));
        orphanTasks(tx, nodeId, clock.now());
        tx.nodes.delete(nodeId);
      });
      log.info("node removed", { "node.id": nodeId });
      return RemoveNodeResponse.create();
    },
  };
}

function managerStatus(member: RaftMember | undefined): ManagerStatus | undefined {
  return (
    member &&
    ManagerStatus.create({
      raftId: member.raftId,
      addr: member.addr,
      leader: member.status.leader,
      reachability: member.status.reachability,
    })
  );
}

/** A node is known by its hostname; `labels` are its engine's, `nodeLabels` those that operators gave it. */
function passes(filters: ListNodesRequest_Filters | undefined, node: Node): boolean {
  if (filters === undefined) return true;
  const { description } = node;
  return (
    passesEach(filters, {
      id: node.id,
      name: description?.hostname ?? "",
      labels: description?.engine?.labels ?? {},
    }) &&
    hasLabels(node.spec.annotations.labels, filters.nodeLabels) &&
    isAmong(node.role, filters.roles) &&
    isAmong(node.spec.membership, filters.memberships)
  );
}

function checkDemotion(tx: ReadTx, node: Node, spec: NodeSpec, raft: RaftView | undefined): void {
  if (node.spec.desiredRole !== NodeRole.MANAGER || spec.desiredRole !== NodeRole.WORKER) return;
  const managers = tx.nodes.find(byRole(NodeRole.MANAGER));
  if (managers.length === 1 && managers[0]?.id === node.id) {
    throw new SwarmError(
      "FailedPrecondition",
      "attempting to demote the last manager of the swarm: promote another node first",
    );
  }
  const member = found(
    raft?.members().find(({ nodeId }) => nodeId === node.id),
    "raft member of node",
    node.id,
  );
  if (!raft?.canRemoveMember(member.raftId)) {
    throw new SwarmError(
      "FailedPrecondition",
      "can't remove member from the raft: this would result in a loss of quorum: bring the other managers back first",
    );
  }
}

function checkRemoval(node: Node, force: boolean, raft: RaftView | undefined): void {
  const refuse = (message: string) => {
    throw new SwarmError("FailedPrecondition", message);
  };
  if (raft?.members().some(({ nodeId }) => nodeId === node.id)) {
    refuse(
      `node ${node.id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
    );
  }
  if (!force && node.status.state === NodeStatus_State.READY) {
    refuse(`node ${node.id} is not down and can't be removed: stop it first, or force the removal`);
  }
}

function clusterOf(tx: ReadTx): Cluster {
  const cluster = tx.clusters.find(byName(defaultClusterName))[0];
  if (cluster === undefined) throw new SwarmError("Internal", "could not fetch cluster object");
  return cluster;
}

/** Nobody will report on the tasks of a node that is gone, so they end here. */
function orphanTasks(tx: WriteTx, nodeId: string, nowMs: number): void {
  for (const task of tx.tasks.find(byNode(nodeId))) {
    if (hasStopped(task)) continue;
    tx.tasks.update({
      ...task,
      status: TaskStatus.create({
        timestamp: timestampOfMs(nowMs),
        state: TaskState.ORPHANED,
        message: "Task belonged to a node that has been deleted",
      }),
    });
  }
}
