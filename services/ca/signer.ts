import {
  Certificate,
  type Cluster,
  durationMs,
  IssuanceStatus,
  IssuanceStatus_State,
  type Node,
  NodeRole,
  NodeSpec_Membership,
} from "@starling/api";
import { managerRole, workerRole } from "@starling/api/rpc";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";
import { rootOf } from "./cluster.ts";

export interface CertificateSignerOptions {
  readonly store: MemoryStore;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Signs the certificates that the store's nodes wait for. */
export interface CertificateSigner {
  /** A leader's loop: signs what waits (also what a former leader left), then whatever comes. */
  run(signal: AbortSignal): Promise<void>;
  /** Signs what this node waits for, if anything; a bad request ends as FAILED. */
  sign(nodeId: string): Promise<void>;
}

export function createCertificateSigner(options: CertificateSignerOptions): CertificateSigner {
  const { store, log } = options;
  const sign = async (nodeId: string) => {
    const node = store.view((tx) => tx.nodes.get(nodeId));
    if (node === undefined || !waits(node)) return;
    const certificate = await certificateFor(options, node);
    const signedNow = await store.update((tx) => {
      const current = tx.nodes.get(nodeId);
      // Asked again or changed role meanwhile: what waits now comes up as an event of its own.
      if (current === undefined || !waits(current) || current.certificate !== node.certificate) return false;
      tx.nodes.update({ ...current, certificate });
      return true;
    });
    if (!signedNow) return;
    if (certificate.status.state === IssuanceStatus_State.ISSUED) {
      log.info("certificate issued", { "node.id": nodeId, role: roleName(certificate.role) });
    } else {
      log.warn("certificate refused", { "node.id": nodeId, error: certificate.status.err });
    }
  };
  const run = async (signal: AbortSignal) => {
    const { value, events } = store.viewAndWatch((tx) => tx.nodes.find(all), { kinds: ["node"], signal });
    for (const node of value) await sign(node.id);
    for await (const event of events) {
      if (event.action !== "remove" && waits(event.object)) await sign(event.object.id);
    }
  };
  return { run, sign };
}

/** A renewal needs no consent; a new node's request needs its membership accepted (Swarm: evaluateAndSignNodeCert). */
function waits({ certificate, spec }: Node): boolean {
  const { state } = certificate.status;
  if (state === IssuanceStatus_State.RENEW) return true;
  return state === IssuanceStatus_State.PENDING && spec.membership === NodeSpec_Membership.ACCEPTED;
}

async function certificateFor(options: CertificateSignerOptions, { id, certificate }: Node): Promise<Certificate> {
  const wanted = { csr: certificate.csr, nodeId: id, role: certificate.role };
  try {
    return await signCertificate(options, mustCluster(options), wanted);
  } catch (thrown) {
    const status = IssuanceStatus.create({ state: IssuanceStatus_State.FAILED, err: SwarmError.from(thrown).message });
    return { ...certificate, status };
  }
}

/**
 * The node's certificate, issued by the cluster's present root. Done outside any transaction: signing takes milliseconds.
 * Throws InvalidArgument for a bad request.
 */
export async function signCertificate(
  { clock }: Pick<CertificateSignerOptions, "clock">,
  cluster: Cluster,
  wanted: { readonly csr: Uint8Array; readonly nodeId: string; readonly role: NodeRole },
): Promise<Certificate> {
  const subject = { nodeId: wanted.nodeId, role: roleName(wanted.role), organization: cluster.id };
  const validityMs = durationMs(cluster.spec.caConfig.nodeCertExpiry);
  const chainPem = await rootOf(cluster).signRequest(wanted.csr, subject, { now: clock.now(), validityMs });
  return Certificate.create({
    role: wanted.role,
    csr: wanted.csr,
    cn: wanted.nodeId,
    status: IssuanceStatus.create({ state: IssuanceStatus_State.ISSUED }),
    certificate: Buffer.from(chainPem),
  });
}

/** Throws Unavailable while there is no cluster object. */
export function mustCluster({ store, clusterId }: Pick<CertificateSignerOptions, "store" | "clusterId">): Cluster {
  const cluster = store.view((tx) => tx.clusters.get(clusterId));
  if (cluster === undefined) throw new SwarmError("Unavailable", "the cluster is not set up yet: try again");
  return cluster;
}

/** The OU that stands for a role. */
export function roleName(role: NodeRole): string {
  return role === NodeRole.MANAGER ? managerRole : workerRole;
}
