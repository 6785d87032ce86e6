import {
  type Cluster,
  IssuanceStatus,
  IssuanceStatus_State,
  JoinTokens,
  type Node,
  NodeStatus_State,
  RootCA as RootCAObject,
} from "@starling/api";
import { type Clock, type Logger, type Millis, Wakeup } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";
import { issuerInfo } from "./certificate.ts";
import { newJoinToken, pemText, wantedRoot } from "./cluster.ts";
import { RootCA } from "./root-ca.ts";
import { nodesWithout, planAsking, renews } from "./rotation-plan.ts";
import { runTogether } from "./together.ts";

/** Between two looks at a rotation's nodes, and so between two batches. */
const periodMs: Millis = 1_000;
/** How often it is logged for whom a rotation waits. */
const tellEveryMs: Millis = 60_000;
/** Nodes that such a line names. */
const namedMax = 10;

export interface RootRotatorOptions {
  readonly store: MemoryStore;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * A leader's loop: while the cluster has a root rotation, asks nodes in batches to renew, and ends it when every node's
 * certificate is issued by the new root. Nodes that are down hold it up until they come back or are removed.
 */
export async function runRootRotation(options: RootRotatorOptions, signal: AbortSignal): Promise<void> {
  const wakeup = new Wakeup();
  const follow = async (stopped: AbortSignal) => {
    for await (const event of options.store.watch({ kinds: ["cluster"], signal: stopped })) {
      if (event.object.id === options.clusterId) wakeup.wake();
    }
  };
  await runTogether([follow, (stopped) => rotate(options, wakeup, stopped)], signal);
}

async function rotate(options: RootRotatorOptions, wakeup: Wakeup, signal: AbortSignal): Promise<void> {
  const { store, clusterId, clock, log } = options;
  const askedAt = new Map<string, Millis>();
  let target: string | undefined;
  let toldAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    const { cluster, nodes } = store.view((tx) => ({ cluster: tx.clusters.get(clusterId), nodes: tx.nodes.find(all) }));
    if (cluster?.rootCa.rootRotation === undefined) {
      target = undefined;
      await wakeup.wait(signal);
      continue;
    }
    const wanted = wantedRoot(cluster);
    if (wanted !== target) {
      target = wanted;
      askedAt.clear();
      toldAt = Number.NEGATIVE_INFINITY;
    }
    const lacking = nodesWithout(issuerInfo(wanted), nodes);
    if (lacking.length === 0) {
      if (await finish(options, wanted))
        log.info("root rotation has ended: every node's certificate is of the new root");
      continue;
    }
    const now = clock.monotonic();
    if (now - toldAt >= tellEveryMs) {
      toldAt = now;
      log.info("root rotation waits for nodes", { lacking: lacking.length, of: nodes.length, nodes: names(lacking) });
    }
    const asked = planAsking(lacking, askedAt, now);
    for (const id of asked) askedAt.set(id, now);
    if (asked.length > 0) await ask(options, asked);
    await clock.sleep(periodMs, signal);
  }
}

async function ask({ store }: RootRotatorOptions, nodeIds: readonly string[]): Promise<void> {
  await store.update((tx) => {
    for (const id of nodeIds) {
      const node = tx.nodes.get(id);
      // A renewal that began meanwhile is signed by the new root anyway.
      if (node === undefined || renews(node)) continue;
      const status = IssuanceStatus.create({ state: IssuanceStatus_State.ROTATE });
      tx.nodes.update({ ...node, certificate: { ...node.certificate, status } });
    }
  });
}

/** Makes the new root the cluster's, if it is still the one that all nodes have; false when not. */
async function finish({ store, clusterId }: RootRotatorOptions, wanted: string): Promise<boolean> {
  return await store.update((tx) => {
    const cluster = tx.clusters.get(clusterId);
    if (cluster?.rootCa.rootRotation === undefined || wantedRoot(cluster) !== wanted) return false;
    if (nodesWithout(issuerInfo(wanted), tx.nodes.find(all)).length > 0) return false;
    tx.clusters.update({ ...cluster, rootCa: finished(cluster) });
    return true;
  });
}

/** The new root alone. Join tokens are new ones: they name the root that joiners are to trust. */
function finished({ rootCa }: Cluster): RootCAObject {
  const { caCert, caKey } = rootCa.rootRotation!;
  const root = RootCA.fromPem({ certificatePem: pemText(caCert) });
  return RootCAObject.create({
    caCert,
    caKey,
    caCertHash: root.digestText,
    joinTokens: JoinTokens.create({ worker: newJoinToken(root), manager: newJoinToken(root) }),
    lastForcedRotation: rootCa.lastForcedRotation,
  });
}

function names(nodes: readonly Node[]): string {
  const shown = nodes.slice(0, namedMax).map(({ id, description, status }) => {
    const hostname = description?.hostname || id;
    return status.state === NodeStatus_State.READY ? hostname : `${hostname} (not ready)`;
  });
  return nodes.length > namedMax ? `${shown.join(", ")}, …` : shown.join(", ");
}
