import type { SecureContextOptions } from "node:tls";
import { contextOf } from "./credentials.ts";
import type { NodeIdentity } from "./identity.ts";

/**
 * What a node shows other nodes, and whom it trusts, for connections that no manager takes part in. Who the other end is, whoever uses
 * it has to look at: `nodeId` and `organization` of its certificate.
 */
export function peerTls(identity: NodeIdentity) {
  return {
    context: (): SecureContextOptions => contextOf(identity),
    organization: (): string => identity.organization,
    onChange: (listener: () => void): (() => void) => identity.onChange(listener),
  };
}
