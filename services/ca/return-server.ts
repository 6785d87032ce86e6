import { X509Certificate as ParsedCertificate } from "node:crypto";
import {
  Certificate,
  type Cluster,
  IssuanceStatus,
  IssuanceStatus_State,
  type Node,
  NodeSpec_Membership,
  NodeStatus_State,
  type RenewExpiredRequest,
  RenewExpiredResponse,
  removedNodeError,
} from "@starling/api";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import { type NodeCertificate, publicKeyOf, readNodeCertificate } from "./certificate.ts";
import { pemText } from "./cluster.ts";
import { roleName } from "./issue.ts";
import { isReturnProof } from "./return-proof.ts";
import { parseCertificate, splitPem } from "./root-ca.ts";
import { type CertificateSigner, mustCluster } from "./signer.ts";

/** For each part. A chain of a leaf and a cross-signed root takes 2 KB, a request 500 bytes. */
const requestBytesMax = 64 * 1024;

export interface ReturnOptions {
  readonly store: MemoryStore;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Renews certificates that ran out while their nodes were off. The asking one must prove that it holds the key of the last
 * certificate that was issued to a node; the node must still be a member, and not be there (who takes its place would not be
 * noticed otherwise); and the certificate must not be out for longer than it was valid. It gets what an ordinary renewal gives.
 */
export function createReturnHandler(
  options: ReturnOptions,
  signer: CertificateSigner,
): (request: RenewExpiredRequest) => Promise<RenewExpiredResponse> {
  /** Public keys by which nodes have returned: an answer that was lost is given again. */
  const returned = new Map<string, string>();
  return async (request) => {
    const cluster = mustCluster(options);
    const { certificate, publicKey } = readProof(request, cluster, options.clock.now());
    const { nodeId } = certificate;
    await options.store.update((tx) => {
      const node = mustReturn(tx.nodes.get(nodeId), tx.clusters.get(cluster.id) ?? cluster, nodeId);
      if (returned.get(nodeId) !== publicKey && lastKey(node) !== publicKey) {
        throw refuse("it is not the last one that was issued to this node");
      }
      const status = IssuanceStatus.create({ state: IssuanceStatus_State.RENEW });
      const asked = Certificate.create({ csr: request.csr, cn: nodeId, role: node.role, status });
      tx.nodes.update({ ...node, certificate: asked });
    });
    returned.set(nodeId, publicKey);
    await signer.sign(nodeId);
    const signed = options.store.view((tx) => tx.nodes.get(nodeId))?.certificate;
    if (signed?.status.state === IssuanceStatus_State.FAILED) {
      throw new SwarmError("InvalidArgument", `certificate was not issued: ${signed.status.err}`);
    }
    if (signed?.status.state !== IssuanceStatus_State.ISSUED) {
      throw new SwarmError("Unavailable", "the certificate could not be signed yet: try again");
    }
    options.log.warn("node with an expired certificate has returned", {
      "node.id": nodeId,
      role: roleName(signed.role),
      expired: new Date(certificate.notAfter).toISOString(),
    });
    return RenewExpiredResponse.create({ certificate: signed.certificate });
  };
}

/** Throws InvalidArgument for what cannot be read or is not proven, FailedPrecondition for what does not entitle. */
function readProof(
  { certificate: chain, csr, signature }: RenewExpiredRequest,
  cluster: Cluster,
  now: number,
): { readonly certificate: NodeCertificate; readonly publicKey: string } {
  for (const [name, bytes] of Object.entries({ certificate: chain, csr, signature })) {
    if (bytes.length === 0) throw new SwarmError("InvalidArgument", `${name}: empty`);
    if (bytes.length > requestBytesMax)
      throw new SwarmError("InvalidArgument", `${name}: over ${requestBytesMax} bytes`);
  }
  const chainPem = pemText(chain);
  const certificate = readNodeCertificate({
    chainPem,
    rootPem: pemText(cluster.rootCa.caCert),
    now,
    allowExpired: true,
  });
  const leaf = parseCertificate(splitPem(chainPem)[0]!, "certificate");
  if (!isReturnProof(signature, csr, leaf.publicKey)) {
    throw new SwarmError("InvalidArgument", "signature: not made with the certificate's key");
  }
  if (certificate.organization !== cluster.id) throw refuse(`it is of cluster ${certificate.organization}`);
  if (now <= certificate.notAfter) throw refuse("it is valid still: show it, and renew it as usual");
  if (now - certificate.notAfter > certificate.notAfter - certificate.notBefore) {
    throw refuse("it ran out longer ago than it was valid: join the cluster again");
  }
  return { certificate, publicKey: hex(publicKeyOf(leaf)) };
}

function mustReturn(node: Node | undefined, cluster: Cluster, nodeId: string): Node {
  if (Object.hasOwn(cluster.blacklistedCertificates, nodeId)) throw removedNodeError(nodeId);
  if (node === undefined) throw refuse(`node ${nodeId} is no member of the cluster: join again`);
  if (node.spec.membership !== NodeSpec_Membership.ACCEPTED) throw refuse(`node ${nodeId} is not accepted`);
  if (node.status.state === NodeStatus_State.READY) {
    // Perhaps it is just not missed yet.
    throw new SwarmError("Unavailable", `expired certificate: node ${nodeId} is there already, with a valid one`);
  }
  return node;
}

function lastKey({ certificate }: Node): string | undefined {
  const leaf = splitPem(pemText(certificate.certificate))[0];
  return leaf === undefined ? undefined : hex(publicKeyOf(new ParsedCertificate(leaf)));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function refuse(why: string): SwarmError {
  return new SwarmError("FailedPrecondition", `expired certificate: ${why}`);
}
