import { createSecureContext, type PeerCertificate } from "node:tls";
import { type ChannelCredentials, credentials, experimental, ServerCredentials } from "@grpc/grpc-js";
import { managerRole } from "@starling/api/rpc";
import type { NodeIdentity } from "./identity.ts";
import { caName } from "./root-ca.ts";

/** TLS 1.3's suites, and of 1.2 those with forward secrecy and authenticated encryption (Swarm: strongTLSCiphers). */
const ciphers = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");
const policy = { ciphers, minVersion: "TLSv1.2" } as const;

/**
 * A manager's server credentials. Clients may come without a certificate (to join); one that is not of the cluster's root
 * makes the caller anonymous, and the role checks refuse it. Follows renewals: new connections get the new certificate.
 */
export function serverCredentials(identity: NodeIdentity): ServerCredentials {
  return new IdentityServerCredentials(identity);
}

class IdentityServerCredentials extends ServerCredentials {
  constructor(identity: NodeIdentity) {
    super({ requestCert: true, rejectUnauthorized: false, ...policy }, contextOf(identity));
    identity.onChange(() => this.updateSecureContextOptions(contextOf(identity)));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

/** The node's certificate and key, and the cluster's root. */
export function contextOf(identity: NodeIdentity) {
  return { ca: identity.rootPem, cert: identity.chainPem, key: identity.keyPem, ...policy };
}

/**
 * Credentials for calls to managers: shows the node's certificate and accepts only a server of the same root whose
 * certificate is a manager's. Follows renewals: connections made later use the new certificate.
 */
export function clientCredentials(identity: NodeIdentity): ChannelCredentials {
  const unsubscribe = new Map<unknown, () => void>();
  const follow = <T>(listener: (update: T) => void, current: () => T) => {
    listener(current());
    unsubscribe.set(
      listener,
      identity.onChange(() => listener(current())),
    );
  };
  const forget = (listener: unknown) => {
    unsubscribe.get(listener)?.();
    unsubscribe.delete(listener);
  };
  const provider: experimental.CertificateProvider = {
    addCaCertificateListener: (listener) => follow(listener, () => ({ caCertificate: Buffer.from(identity.rootPem) })),
    removeCaCertificateListener: forget,
    addIdentityCertificateListener: (listener) =>
      follow(listener, () => ({
        certificate: Buffer.from(identity.chainPem),
        privateKey: Buffer.from(identity.keyPem),
      })),
    removeIdentityCertificateListener: forget,
  };
  return named(
    experimental.createCertificateProviderChannelCredentials(provider, provider, {
      checkServerIdentity: (_host, certificate) => checkManager(certificate),
    }),
    managerRole,
  );
}

/** For a joiner, who has the root's certificate but none of its own. */
export function joinerCredentials(rootPem: string): ChannelCredentials {
  const context = createSecureContext({ ca: rootPem, ...policy });
  return named(
    credentials.createFromSecureContext(context, {
      checkServerIdentity: (_host, certificate) => checkManager(certificate),
    }),
    caName,
  );
}

/** Verifies nothing: only for fetching the root certificate, which is then held against the token's digest. */
export function unverifiedCredentials(): ChannelCredentials {
  const context = createSecureContext(policy);
  return named(
    credentials.createFromSecureContext(context, { rejectUnauthorized: false, checkServerIdentity: () => undefined }),
    caName,
  );
}

/** Asks servers for `serverName` instead of the address, whatever channel the credentials are used for. */
function named(inner: ChannelCredentials, serverName: string): ChannelCredentials {
  const connector = inner._createSecureConnector.bind(inner);
  inner._createSecureConnector = (target, options, callCredentials) =>
    connector(target, { ...options, "grpc.ssl_target_name_override": serverName }, callCredentials);
  return inner;
}

/** The chain is verified already; a worker's certificate must not pass for a manager's. */
function checkManager(certificate: PeerCertificate): Error | undefined {
  const units = [certificate.subject?.OU ?? []].flat();
  if (units.includes(managerRole)) return undefined;
  return new Error(`server's certificate is of role ${units.join(",") || "none"}, not ${managerRole}`);
}
