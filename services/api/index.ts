export {
  addressPoolLabels,
  addressPools,
  checkAddressPool,
  checkPoolMaskLength,
  poolSubnetSize,
  withAddressPool,
} from "./address-pools.ts";
export { needsAllocation, pendingMessage } from "./allocation.ts";
export { balanceLabel, balanceNames, balanceOf } from "./balance.ts";
export { type Constraint, labelOf, nodeMatches, parseConstraints } from "./constraint.ts";
export {
  dataPathLabel,
  defaultAddressPools,
  defaultClusterName,
  defaultSubnetSize,
  defaultVxlanPort,
  subnetSize6,
} from "./defaults/cluster.ts";
export {
  defaultRestartPolicy,
  defaultStopGracePeriod,
  defaultUpdateConfig,
  withServiceDefaults,
} from "./defaults/service.ts";
export { drainTimeLabel, drainTimeMs } from "./drain-time.ts";
export { durationMs, durationOfMs, parseDuration, timestampMs, timestampOfMs } from "./duration.ts";
export { isEncryptedNetwork } from "./encrypted-network.ts";
export { sameBut, sameValue } from "./equal.ts";
export * from "./gen/messages.js";
export {
  consumeGeneric,
  discreteResource,
  genericEnvironment,
  genericKind,
  genericValue,
  hasEnoughGeneric,
  namedResource,
  parseGenericResources,
  selectGeneric,
} from "./generic-resource.ts";
export { formatHostAddresses, hostAddressesLabel, parseHostAddresses } from "./host-addresses.ts";
export { type ImageReference, isPinned, parseImageReference, pinnedReference } from "./image-reference.ts";
export { isIngressNetwork, isJob, needsIngressNetwork } from "./ingress.ts";
export {
  type Cidr,
  cidrContains,
  cidrOverlaps,
  formatAddress,
  formatCidr,
  type IpAddress,
  parseAddress,
  parseCidr,
} from "./ip.ts";
export type { FieldInfo, MessageCodec, MethodTable, Registry, ServiceTable } from "./message.ts";
export { runtimeName, taskName } from "./naming.ts";
export { formatNetworkKeys, type NetworkKey, networkKeysLabel, parseNetworkKeys } from "./network-keys.ts";
export { formatNetworkRelay, type NetworkRelay, networkRelayLabel, parseNetworkRelay } from "./network-relay.ts";
export {
  checkPatienceLabels,
  defaultDamping,
  type FlapDamping,
  type NodePatience,
  nodePatience,
  patienceLabels,
} from "./node-patience.ts";
export { publishesNotReady, publishNotReadyLabel } from "./not-ready.ts";
export { isForeignNode, needsOwnNode, ownNodePlugin } from "./own-nodes.ts";
export { type ParentNetwork, parentNetwork } from "./parent-network.ts";
export {
  checkPlacementStrategy,
  type PlacementStrategy,
  placementStrategies,
  placementStrategy,
  placementStrategyLabel,
} from "./placement-strategy.ts";
export { type PortProtocol, portProtocolOf } from "./port-protocol.ts";
export {
  isHostNetwork,
  isPredefinedNetwork,
  predefinedNetwork,
  predefinedNetworkLabel,
  predefinedNetworkNames,
} from "./predefined-network.ts";
export { preferLocalLabel, prefersLocal } from "./prefer-local.ts";
export { isPublishAddress, publishOn, publishOnLabel } from "./publish-on.ts";
export {
  checkRebalanceLabels,
  type MoveLabel,
  mayRebalance,
  moveLabelOf,
  type RebalancePolicy,
  rebalanceLabels,
  rebalancePolicy,
  withMoveLabel,
} from "./rebalance.ts";
export { isRemovedNodeError, removedNodeError } from "./removed-node.ts";
export { ownMetadataPrefix, resolveImageMetadata } from "./request-metadata.ts";
export {
  type DeviceOption,
  type DeviceRuleOption,
  type IoLimitOption,
  type RuntimeOptionShape,
  type RuntimeOptions,
  runtimeOptionPrefix,
  runtimeOptionShapes,
  runtimeOptionsOf,
  splitList,
} from "./runtime-options.ts";
export { parseSize } from "./size.ts";
export { isTaskDirty } from "./task-dirty.ts";
export { enforcedMessage, hasStopped, isOnNode, isStopRequested, isTerminal, taskStateName } from "./task-state.ts";
export {
  formatUnlockKey,
  lockedMessage,
  parseUnlockKey,
  unlockKeyBytes,
  unlockKeyOf,
  withUnlockKey,
} from "./unlock-key.ts";
export { updateDeadlineLabel, updateDeadlineMs } from "./update-deadline.ts";
