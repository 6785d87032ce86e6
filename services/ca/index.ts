export { type NodeCertificate, readNodeCertificate } from "./certificate.ts";
export { newCertificateRequest } from "./certificate-request.ts";
export { type ClusterDefaults, newCluster, newJoinToken, rootOf } from "./cluster.ts";
export { clientCredentials, joinerCredentials, serverCredentials, unverifiedCredentials } from "./credentials.ts";
export type { ExternalCaIdentity } from "./external-ca.ts";
export { bootstrapIdentity, certificatesDir, NodeIdentity } from "./identity.ts";
export { fetchRootCertificate, type JoinOptions, joinCluster, requestCertificate } from "./join.ts";
export { formatJoinToken, type JoinToken, parseJoinToken } from "./join-token.ts";
export { type KeySealing, newSealingKey, type RaftDataKeys, unsealed } from "./key-file.ts";
export { sha256 } from "./keys.ts";
export { type NextRootOptions, nextRootCa } from "./next-root.ts";
export { peerTls } from "./peer-tls.ts";
export { CertificateRenewer, renewalTime, wantsRenewal } from "./renewer.ts";
export { returnToCluster } from "./return.ts";
export {
  backdateMs,
  type CertificateSubject,
  caName,
  minNodeValidityMs,
  nodeValidityMs,
  RootCA,
  type RootCAOptions,
} from "./root-ca.ts";
export { type CaServer, type CaServerOptions, createCaServer, refuseRemovedNodes } from "./server.ts";
export { type CertificateSigner, createCertificateSigner } from "./signer.ts";
