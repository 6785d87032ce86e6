import { X509Certificate } from "node:crypto";
import { BlacklistedCertificate, type Cluster, type Node, timestampMs, timestampOfMs } from "@starling/api";

/** How long a removed node's id stays barred after its certificate expired; clocks differ. */
const expiredGraceMs = 7 * 24 * 3_600_000;

/** The cluster with `node` barred until its certificate has expired, and without entries that have served their time. */
export function blacklistNode(cluster: Cluster, node: Node, nowMs: number): Cluster {
  const entry = BlacklistedCertificate.create({ expiry: certificateExpiry(node.certificate.certificate) });
  return {
    ...cluster,
    blacklistedCertificates: { ...withoutExpired(cluster.blacklistedCertificates, nowMs), [node.id]: entry },
  };
}

/** Entries still needed at `nowMs`; those without expiry stay for ever. */
export function withoutExpired(
  entries: Cluster["blacklistedCertificates"],
  nowMs: number,
): Cluster["blacklistedCertificates"] {
  return Object.fromEntries(
    Object.entries(entries).filter(([, { expiry }]) => !expiry || timestampMs(expiry) + expiredGraceMs >= nowMs),
  );
}

/** Undefined for a node that has no certificate yet, or one that can't be read: then it is barred for ever. */
function certificateExpiry(pem: Uint8Array): BlacklistedCertificate["expiry"] {
  if (pem.length === 0) return undefined;
  try {
    return timestampOfMs(new X509Certificate(pem).validToDate.getTime());
  } catch {
    return undefined;
  }
}
