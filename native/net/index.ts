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
export {
  Shortcut,
  type ShortcutChange,
  type ShortcutMap,
  type ShortcutProgram,
  shortcutPrograms,
} from "./shortcut.ts";
export * as sockDiag from "./sock-diag.ts";
export * as trafficControl from "./traffic-control.ts";
