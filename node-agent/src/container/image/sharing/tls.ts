import type { PeerCertificate, SecureContextOptions } from "node:tls";
import { callerFromSubject } from "@starling/api/rpc";

/** What this node shows other nodes, and whom it trusts. Implemented around the node's identity. */
export interface PeerTls {
  /** Certificate, key, and the cluster's roots, as of now. */
  context(): SecureContextOptions;
  /** The cluster's id. */
  organization(): string;
  /** Told when the context is another; the returned function ends that. */
  onChange(listener: () => void): () => void;
}

/** The node that a verified certificate names, if it is of this cluster; undefined otherwise. */
export function nodeOf(certificate: Pick<PeerCertificate, "subject"> | undefined, tls: PeerTls): string | undefined {
  const caller = callerFromSubject(certificate?.subject);
  return caller.nodeId !== "" && caller.organization === tls.organization() ? caller.nodeId : undefined;
}
