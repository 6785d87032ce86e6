import { createHash, X509Certificate } from "node:crypto";
import { type Cluster, type Node, NodeStatus_State } from "@starling/api";

/** How far a cluster's root rotation is, by what nodes say of themselves. */
export interface RotationProgress {
  /** Whether a rotation is under way. */
  readonly rotating: boolean;
  /** As Cluster.root_ca.ca_cert_hash, of the root that is rotated to, or that the rotation has led to. */
  readonly digest: string;
  readonly nodes: number;
  /** Nodes whose certificate is of that root. */
  readonly certificates: number;
  /** Nodes that trust that root by itself. */
  readonly trust: number;
  /** Nodes that the rotation waits for, by hostname, with their state unless they are ready. */
  readonly lacking: readonly string[];
  /** The rotation is over, and every node that is there has heard of it. */
  readonly done: boolean;
}

export function rotationProgress(cluster: Cluster, nodes: readonly Node[]): RotationProgress {
  const { caCert, rootRotation } = cluster.rootCa;
  const wanted = rootRotation?.caCert ?? caCert;
  const certificate = new X509Certificate(Buffer.from(wanted));
  const publicKey = certificate.publicKey.export({ type: "spki", format: "der" });
  const fingerprint = certificate.fingerprint256;
  const hasCertificate = ({ description }: Node) =>
    publicKey.equals(Buffer.from(description?.tlsInfo?.certIssuerPublicKey ?? []));
  const trusts = ({ description }: Node) => {
    const root = description?.tlsInfo?.trustRoot ?? [];
    return root.length > 0 && new X509Certificate(Buffer.from(root)).fingerprint256 === fingerprint;
  };
  const lacking = nodes.filter((node) => !hasCertificate(node));
  const isThere = ({ status }: Node) => status.state === NodeStatus_State.READY;
  return {
    rotating: rootRotation !== undefined,
    digest: `sha256:${createHash("sha256").update(wanted).digest("hex")}`,
    nodes: nodes.length,
    certificates: nodes.length - lacking.length,
    trust: nodes.filter(trusts).length,
    lacking: lacking.map(described),
    done: rootRotation === undefined && nodes.filter(isThere).every((node) => hasCertificate(node) && trusts(node)),
  };
}

/** `waiting for w2 (down), w3`; empty when there is nobody to wait for. */
export function waitingFor({ rotating, lacking }: RotationProgress, namedMax = 5): string {
  if (!rotating || lacking.length === 0) return "";
  const more = lacking.length > namedMax ? ` and ${lacking.length - namedMax} more` : "";
  return `waiting for ${lacking.slice(0, namedMax).join(", ")}${more}`;
}

function described({ id, description, status }: Node): string {
  const hostname = description?.hostname || id;
  const state = Object.entries(NodeStatus_State).find(([, value]) => value === status.state)?.[0] ?? "UNKNOWN";
  return status.state === NodeStatus_State.READY ? hostname : `${hostname} (${state.toLowerCase()})`;
}
