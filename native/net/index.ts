export {
  type Answer,
  type ConntrackStep,
  closeNftSession,
  Errno,
  freshNetns,
  type NetlinkResult,
  type NftResult,
  runSteps,
  type SocketResult,
  type Step,
  type Sysctl,
} from "./addon.ts";
export { ipBytes, ipText, ipv4Bytes, ipv4Text, macBytes, macText, parsePrefix } from "./address.ts";
export { Balancer, type BalancerChange, type BalancerMap, balancerMaps, netnsCookie } from "./balancer.ts";
export type { MapChange } from "./bpf-maps.ts";
export { type DeviceObject, DevicePrograms } from "./device-programs.ts";
export {
  type Address,
  decodeAddresses,
  decodeForwarding,
  decodeLinks,
  decodeNeighbours,
  decodeRoutes,
  decodeRules,
  type Forwarding,
  type Link,
  type Neighbour,
  type Route,
  type Rule,
} from "./dump.ts";
export { frameObject } from "./frames.ts";
export { meshObject } from "./mesh.ts";
export {
  type Attribute,
  decodeAttributes,
  decodeReplies,
  encodeRequests,
  Flag,
  type Reply,
  type Request,
} from "./netlink.ts";
export * as nfTables from "./nf-tables.ts";
export * as rtnetlink from "./rtnetlink.ts";
export * as sockDiag from "./sock-diag.ts";
export * as trafficControl from "./traffic-control.ts";
export * as xfrm from "./xfrm.ts";
