/** Pure: no clock, no I/O, no randomness. */

/** gRPC metadata of ours, beside Swarm's. Managers that relay a call to the leader pass keys with this prefix on. */
export const ownMetadataPrefix = "starling-";

/**
 * With createService and updateService: "false" leaves the image's tag as it is; by default the leader puts the digest that the tag
 * names, and the image's platforms, into the spec.
 */
export const resolveImageMetadata = `${ownMetadataPrefix}resolve-image`;
