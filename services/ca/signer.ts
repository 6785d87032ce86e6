import {
  type Certificate,
  type Cluster,
  IssuanceStatus,
  IssuanceStatus_State,
  type Node,
  NodeSpec_Membership,
} from "@starling/api";
import { type Clock, type Logger, type Millis, SwarmError } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";
import type { ExternalCaIdentity } from "./external-ca.ts";
import { issueCertificate, roleName, sameIssuer } from "./issue.ts";
import { runTogether } from "./together.ts";

/** Pause before what could not be signed, since no external CA answered, is tried again. */
const retryMs: Millis = 2_000;

export interface CertificateSignerOptions {
  readonly store: MemoryStore;
  readonly clusterId: string;
  /** Shown to external CAs. */
  readonly identity: ExternalCaIdentity;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Signs the certificates that the store's nodes wait for. */
export interface CertificateSigner {
  /** A leader's loop: signs what waits (also what a former leader left), then whatever comes. */
  run(signal: AbortSignal): Promise<void>;
  /** Signs what this node waits for, if anything; a bad request ends as FAILED, one that cannot be signed now goes on waiting. */
  sign(nodeId: string): Promise<void>;
}

export function createCertificateSigner(options: CertificateSignerOptions): CertificateSigner {
  const { store, clock, log } = options;
  /** Nodes whose certificate no external CA could be asked for. */
  const postponed = new Set<string>();
  const sign = async (nodeId: string) => {
    const node = store.view((tx) => tx.nodes.get(nodeId));
    postponed.delete(nodeId);
    if (node === undefined || !waits(node)) return;
    const cluster = mustCluster(options);
    const certificate = await certificateFor(options, cluster, node);
    if (certificate === undefined) {
      postponed.add(nodeId);
      return;
    }
    const outcome = await store.update((tx) => {
      const current = tx.nodes.get(nodeId);
      // Asked again or changed role meanwhile: what waits now comes up as an event of its own.
      if (current === undefined || !waits(current) || current.certificate !== node.certificate) return "outdated";
      // A rotation began or ended meanwhile: a certificate of the former root must not come after it.
      const present = tx.clusters.get(options.clusterId);
      if (present === undefined || !sameIssuer(present, cluster)) return "other-root";
      tx.nodes.update({ ...current, certificate });
      return "signed";
    });
    if (outcome === "other-root") return await sign(nodeId);
    if (outcome === "outdated") return;
    if (certificate.status.state === IssuanceStatus_State.ISSUED) {
      log.info("certificate issued", { "node.id": nodeId, role: roleName(certificate.role) });
    } else {
      log.warn("certificate refused", { "node.id": nodeId, error: certificate.status.err });
    }
  };
  const follow = async (signal: AbortSignal) => {
    const { value, events } = store.viewAndWatch((tx) => tx.nodes.find(all), { kinds: ["node"], signal });
    for (const node of value) await sign(node.id);
    for await (const event of events) {
      if (event.action !== "remove" && waits(event.object)) await sign(event.object.id);
    }
  };
  const retry = async (signal: AbortSignal) => {
    for (;;) {
      await clock.sleep(retryMs, signal);
      for (const nodeId of [...postponed]) {
        await sign(nodeId);
        // Where one request does not get through, the next would not either.
        if (postponed.has(nodeId)) break;
      }
    }
  };
  const run = async (signal: AbortSignal) => {
    postponed.clear();
    await runTogether([follow, retry], signal);
  };
  return { run, sign };

  /** Undefined when it cannot be signed for now. */
  async function certificateFor(
    issuing: CertificateSignerOptions,
    cluster: Cluster,
    { id, certificate }: Node,
  ): Promise<Certificate | undefined> {
    try {
      return await issueCertificate(issuing, cluster, { csr: certificate.csr, nodeId: id, role: certificate.role });
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (error.code === "Unavailable") {
        log.warn("certificate not signed, it will be tried again", { "node.id": id, error: error.message });
        return undefined;
      }
      const status = IssuanceStatus.create({ state: IssuanceStatus_State.FAILED, err: error.message });
      return { ...certificate, status };
    }
  }
}

/** A renewal needs no consent; a new node's request needs its membership accepted (Swarm: evaluateAndSignNodeCert). */
function waits({ certificate, spec }: Node): boolean {
  const { state } = certificate.status;
  if (state === IssuanceStatus_State.RENEW) return true;
  return state === IssuanceStatus_State.PENDING && spec.membership === NodeSpec_Membership.ACCEPTED;
}

/** Throws Unavailable while there is no cluster object. */
export function mustCluster({ store, clusterId }: Pick<CertificateSignerOptions, "store" | "clusterId">): Cluster {
  const cluster = store.view((tx) => tx.clusters.get(clusterId));
  if (cluster === undefined) throw new SwarmError("Unavailable", "the cluster is not set up yet: try again");
  return cluster;
}
