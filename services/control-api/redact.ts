/** Pure: no clock, no I/O, no randomness. */

import { Cluster, defaultAddressPools, defaultSubnetSize, defaultVxlanPort, type Secret } from "@starling/api";

const noBytes = new Uint8Array(0);

/**
 * A cluster as clients may see it: built from a list of what may leave, so a new field stays inside until it is named
 * here. Keys, and the signing certificate that is of use only with its key, never leave.
 */
export function redactCluster(cluster: Cluster): Cluster {
  const { rootCa, spec } = cluster;
  const ownPools = cluster.defaultAddressPool.length > 0;
  return Cluster.create({
    id: cluster.id,
    meta: cluster.meta,
    spec: { ...spec, caConfig: { ...spec.caConfig, signingCaKey: noBytes, signingCaCert: noBytes } },
    rootCa: {
      ...rootCa,
      caKey: noBytes,
      rootRotation: rootCa.rootRotation && { ...rootCa.rootRotation, caKey: noBytes },
    },
    blacklistedCertificates: cluster.blacklistedCertificates,
    fips: cluster.fips,
    defaultAddressPool: ownPools ? cluster.defaultAddressPool : defaultAddressPools,
    subnetSize: ownPools ? cluster.subnetSize : defaultSubnetSize,
    vxlanUdpPort: cluster.vxlanUdpPort || defaultVxlanPort,
  });
}

/** A secret without its data. */
export function redactSecret(secret: Secret): Secret {
  return { ...secret, spec: { ...secret.spec, data: noBytes } };
}
